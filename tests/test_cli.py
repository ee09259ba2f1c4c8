"""The command line: grids that stop, go on and skip; mistakes that are said in a sentence."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import pytest
from torch import AcceleratorError

from rnc import cli
from rnc.progress import OutOfTime
from rnc.study import grid, store
from rnc.study.capture import CaptureFailed
from rnc.study.files import StoreError
from rnc.study.record import Record
from rnc.study.settings import Study
from rnc.study.store import Request
from rnc.study.training import Diverged

TINY = 'preset = "quick"\nwidth = 2\nepochs = 2\nsteps = 1\nper_class = 9\n'


def rnc(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "rnc", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def folders(tmp_path, empty_store, monkeypatch):
    monkeypatch.setenv("RNC_RECORDS", str(tmp_path / "records"))
    return tmp_path


@pytest.fixture
def wanted(monkeypatch):
    """The requests that a command would compute."""
    requests = []
    monkeypatch.setattr(cli, "compute", lambda found, *rest, **named: requests.extend(found))
    return requests


def write(folder, text):
    (folder / "grid.toml").write_text(text)
    return str(folder / "grid.toml")


def test_a_grid_stops_goes_on_and_skips_what_is_recorded(folders):
    file = write(
        folders, f'[[run]]\n{TINY}only = ["st"]\n\n[[run]]\n{TINY}only = ["trades", "at"]\n'
    )
    first = rnc("grid", file, "--minutes", 0, cwd=folders)
    assert first.returncode == 75, "a queue tells by it that the grid wants to be begun again"
    assert "networks: 3, recorded: 0" in first.stdout
    assert "about" in first.stdout
    assert "time is over with 3 networks to do; the same command goes on" in first.stdout
    second = rnc("grid", file, cwd=folders)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("done: ") == 3
    published = list((folders / "records").rglob("training.json"))
    assert len(published) == 3
    published[0].unlink()  # as after a run that did not publish its record
    third = rnc("grid", file, cwd=folders)
    assert third.stdout.startswith("networks: 3, recorded: 2\n")
    assert published[0].exists()
    assert rnc("grid", file, cwd=folders).stdout == "networks: 3, recorded: 3\n"


def test_a_grid_can_ask_for_stronger_attacks(folders):
    file = write(folders, f'[[run]]\n{TINY}only = ["st"]\n')
    assert "1 of 1 done: " in rnc("grid", file, cwd=folders).stdout
    file = write(folders, f'[[run]]\n{TINY}only = ["st"]\nextra = ["stronger"]\n')
    again = rnc("grid", file, cwd=folders)
    assert "networks: 1, recorded: 0" in again.stdout
    assert len(list((folders / "records").rglob("stronger.1.json"))) == 1
    assert rnc("grid", file, cwd=folders).stdout == "networks: 1, recorded: 1\n"


def test_a_grid_goes_through_its_list_in_order_and_shards_share_it(folders, wanted):
    text = f'[[run]]\n{TINY}seed = 3\nonly = ["at"]\n\n[[run]]\n{TINY}seeds = [2, 1]\n'
    file = write(folders, text + 'only = ["st", "at-frozen"]\n')
    cli.main(["grid", file])
    everything = list(wanted)
    assert [str(request.training) for request in everything] == [
        "AT, seed 3",
        "ST, seed 2",
        "AT (frozen BN), seed 2",
        "ST, seed 1",
        "AT (frozen BN), seed 1",
    ]
    shards = []
    for k in (1, 2, 3):
        wanted.clear()
        cli.main(["grid", file, "--shard", f"{k}/3"])
        shards.append(list(wanted))
    assert shards == [everything[k::3] for k in range(3)]


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b", "1/0"])
def test_a_shard_that_is_none_is_said(folders, capsys, shard):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["grid", write(folders, f"[[run]]\n{TINY}"), "--shard", shard])
    message = f"shard must be such as 2/8, the second of eight; got '{shard}'"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).resolve().parents[1] / "book" / "records").glob("*.toml"))
)
def test_the_books_own_grids_can_be_read(path, wanted):
    cli.main(["grid", str(path)])
    assert len(set(wanted)) == len(wanted) >= 12
    if path.stem != "paper":  # those records are there
        assert [request for request in wanted if store.find(request) is None] == []


def test_a_run_of_a_book_makes_each_network_once(wanted, monkeypatch):
    from rnc.show import book

    monkeypatch.setattr(book, "render", lambda study, settings: None)
    ran = []
    monkeypatch.setattr(cli, "run_experiments", lambda chapters, publish: ran.extend(chapters))
    cli.main(["book"])
    assert "deep_linear" in {one.name.split("/")[0] for chapter in ran for one, *_ in chapter}
    assert len(wanted) == 4
    assert {request.extra for request in wanted} == {(*cli.AUDITED, "thumbnails")}
    assert [request.training.method.name for request in wanted][-1] == "st"  # the shortest
    wanted.clear()
    cli.main(["book", "--preset", "cifar10-small"])
    assert len(wanted) == 3 * 4 + 4
    assert len({(request.training, request.evaluation) for request in wanted}) == len(wanted)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[[run]]\nepoch = 3\n",
            "has a setting 'epoch'; allowed are only, extra, preset, dataset",
        ),
        (
            '[[run]]\nonly = ["sst"]\n',
            "only must be one of st, at, trades, trades-frozen, at-frozen, mixup, mixup-mse, "
            "mixup-etf; got 'sst' (did you",
        ),
        ("[[run]]\nextra = 3\n", "extra must be a list such as stronger, early; got 3"),
        ('[[run]]\ndevice = "cpu"\n', "has a setting 'device'; allowed are only"),
        ("[[run]]\nwidth = 0\n", "width must be a whole number, at least 1; got 0"),
        ("[run\n", "file must be a TOML list of [[run]] tables"),
        ("[[run]]\nonly = []\n", "only must be a list of st, at, trades"),
        ('[[run]]\nonly = "st"\n', "only must be a list of st, at, trades"),
        ("run = [1]\n", "file must be a TOML list of [[run]] tables"),
        ("run = []\n", "file must be a TOML list of [[run]] tables"),
        ("[run]\nwidth = 2\n", "file must be a TOML list of [[run]] tables"),
        ("", "file must be a TOML list of [[run]] tables"),
    ],
)
def test_a_mistake_in_a_grid_is_said_before_anything_runs(folders, capsys, text, message):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["grid", write(folders, text)])
    assert message in capsys.readouterr().err
    assert not (folders / "store").exists()


def test_mistakes_are_said_in_one_sentence(folders):
    for arguments, message in (
        (["run", "--norm", "l3"], "norm must be one of linf, l2; got 'l3'"),
        (["run", "--model", "[1]"], "model must be one of vgg11, preactresnet18; got [1]"),
        (["run", "--preset", "paper"], "start it all the same with python -m rnc run --long"),
        (["claims", "--dataset", "imagefolder:none"], f"there is no folder {folders}/none/train"),
        (["grid", "none.toml"], "file must be a TOML list of [[run]] tables; got none.toml"),
    ):
        run = rnc(*arguments, cwd=folders)
        assert run.returncode == 2, run.stderr
        assert message in run.stderr.splitlines()[-1]
        assert "Traceback" not in run.stderr


def requests_of(*methods):
    study = Study.of(width=2, epochs=2, steps=1, per_class=9)
    return [Request(study.training(method), study.evaluation) for method in methods]


def test_a_training_that_diverges_does_not_stop_the_others(folders, capsys):
    st, at = requests_of("st", "at")
    broken = replace(st, training=replace(st.training, lr=1e9, epochs=5))
    with pytest.raises(SystemExit, match="1"):
        grid.compute([broken, at], "cpu", minutes=5)
    said = capsys.readouterr().out
    assert "failed: " in said
    assert "ST diverged in epoch" in said
    assert "done: " in said
    assert store.find(broken) is None
    assert store.find(at) is not None


def test_what_another_process_works_on_is_left_until_the_rest_is_done(folders, capsys):
    held, *others = requests_of("st", "at", "trades")

    def hold(taken):
        with store._locked(store.home(held.training)):
            taken.set()
            while not all(map(store.find, others)):
                time.sleep(0.05)

    other_process = threading.Thread(target=hold, args=[taken := threading.Event()])
    other_process.start()
    taken.wait()
    grid.compute([held, *others], "cpu")
    other_process.join()
    done = [line for line in capsys.readouterr().out.splitlines() if "done: " in line]
    assert len(done) == 3
    assert "3 of 3 done" in done[-1]
    assert "-st-" in done[-1]


def test_records_that_cannot_be_published_are_said_before_any_training(
    folders, monkeypatch, capsys
):
    (folders / "file").write_text("in the way")
    monkeypatch.setenv("RNC_RECORDS", str(folders / "file" / "records"))
    with pytest.raises(StoreError, match="file/records cannot be written .* RNC_RECORDS"):
        grid.compute(requests_of("st"), "cpu", publish=True)
    assert not (folders / "store").exists()


def test_an_error_of_the_command_itself_does_not_wait_for_queued_work(folders, monkeypatch):
    """Whatever it is; the workers end with it."""
    made = folders / "store"
    monkeypatch.setattr(Record, "end", lambda *arguments: 1 / 0)  # as it says how a network ended
    (st,) = requests_of("st")
    requests = [
        replace(st, training=replace(st.training, seed=seed, epochs=2 if seed == 0 else 300))
        for seed in range(4)
    ]
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        grid.compute(requests, "cpu")
    assert time.monotonic() - began < 60
    time.sleep(1)
    files = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    time.sleep(2)
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == files


@pytest.mark.parametrize(
    ("stop", "code"),
    [
        (lambda pid: os.killpg(pid, signal.SIGINT), 1),  # Ctrl-C, as a terminal sends it
        (lambda pid: os.kill(pid, signal.SIGINT), 1),
        (lambda pid: os.kill(pid, signal.SIGTERM), -signal.SIGTERM),
        (lambda pid: os.kill(pid, signal.SIGKILL), -signal.SIGKILL),
    ],
    ids=["ctrl-c", "interrupt", "terminate", "kill"],
)
def test_whatever_stops_the_command_stops_its_workers(empty_store, stop, code):
    command = [sys.executable, "-m", "rnc", "run", "--width", "2", "--epochs", "500"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a background job of a shell, as CI may be, ignores Ctrl-C, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not list(empty_store.rglob("epoch-0001.safetensors")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    stop(process.pid)
    _, errors = process.communicate(timeout=60)  # waits for the workers, who hold the pipe
    assert process.returncode == code
    assert ("the same command goes on from the last checkpoints" in errors) == (code == 1)
    files = {path: path.stat().st_mtime_ns for path in empty_store.rglob("*")}
    time.sleep(2)  # several epochs of a worker that had been left
    assert {path: path.stat().st_mtime_ns for path in empty_store.rglob("*")} == files


def test_workers_are_as_many_as_the_cores_that_may_be_used(folders, monkeypatch, capsys):
    monkeypatch.setattr(grid.joblib, "cpu_count", lambda: 1)
    with pytest.raises(SystemExit):
        grid.compute(requests_of("st", "at"), "cpu", minutes=0)
    assert "1 at a time" in capsys.readouterr().out


BEGUN, MADE = [], grid._make


def on_a_gpu_that_fails(request, deadline, **options):
    """Instead of `grid._make`, on a CPU: ST dies, AT cannot be captured, TRADES goes well."""
    assert not BEGUN, "a fault spoils all that its process does later"
    BEGUN.append(request)
    method, eager = request.training.method.name, os.environ.get("RNC_STEP") == "eager"
    if method == "st":
        os._exit(1)
    if method == "at" and not eager:
        raise CaptureFailed("no luck")
    assert eager == (method == "at")
    return MADE(request, deadline, **options | {"device": "cpu"})


def test_a_fault_on_a_gpu_is_tried_again_without_captured_steps_and_spoils_nothing_else(
    folders, monkeypatch, capfd
):
    monkeypatch.setattr(grid, "_make", on_a_gpu_that_fails)
    monkeypatch.setattr(store, "check_length", lambda request, device: 1)
    dies, *others = requests_of("st", "at", "trades")
    with pytest.raises(SystemExit, match="1"):
        grid.compute([dies, *others], "cuda", publish=True)
    said, errors = capfd.readouterr()
    assert "1 of 3 failed: " in said
    assert "Died: its process died, and so did a second one with RNC_STEP=eager" in said
    assert said.count("done: ") == 2
    assert errors.count("trying again in another process with RNC_STEP=eager") == 2
    assert "CaptureFailed: no luck; trying again" in errors
    assert store.find(dies) is None
    assert all(store.find(request, folders / "records") for request in others)
    assert "RNC_STEP" not in os.environ


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (CaptureFailed("no luck"), 2),
        (AcceleratorError("an illegal memory access was encountered"), 2),
        (BrokenProcessPool("it died"), 2),
        (Diverged("AT diverged"), 1),
        (OutOfTime("time is over"), 1),
    ],
)
def test_only_a_fault_of_the_gpu_is_tried_again(monkeypatch, error, tries):
    tried = []

    def fails(*arguments):
        tried.append(arguments)
        raise error

    monkeypatch.setattr(grid, "_in_a_process", fails)
    ((item, result),) = grid.side_by_side(print, ["one"], 1, "cuda")
    with pytest.raises(grid.Died if isinstance(error, BrokenProcessPool) else type(error)):
        result()
    assert tried == [(print, item), (grid._eagerly, print, item)][:tries]


def test_a_network_is_not_begun_when_time_is_over(folders):
    (request,) = requests_of("st")
    with pytest.raises(OutOfTime, match="was not begun"):
        grid._make(request, time.time() - 1)


def test_what_failed_does_not_hide_that_time_is_over(folders, monkeypatch, capsys):
    """A queue begins the grid again by its status, for the networks that time is over for."""
    ended = iter([RuntimeError("no luck"), OutOfTime("time is over")])

    def make(request, **options):
        raise next(ended)

    monkeypatch.setattr(store, "make", make)
    monkeypatch.setattr(grid.joblib, "cpu_count", lambda: 1)
    with pytest.raises(SystemExit) as stopped:
        grid.compute(requests_of("st", "at"), "cpu", minutes=5)
    assert stopped.value.code == grid.OVER
    said = capsys.readouterr().out
    assert "1 of 2 failed: " in said
    assert "RuntimeError: no luck" in said
    assert "time is over with 1 networks to do" in said


def test_another_processors_network_does_not_stop_the_others(folders, capsys):
    st, at = requests_of("st", "at")
    grid.compute([st], "cpu", publish=True)
    for path in (folders / "records").rglob("*.json"):
        path.write_text(path.read_text().replace('"weights": "', '"weights": "of another '))
    with pytest.raises(SystemExit, match="1"):
        grid.compute([replace(st, extra=("stronger",)), at], "cpu", publish=True)
    said = capsys.readouterr().out
    assert "Mismatch: there are records of ST, seed 0" in said
    assert store.find(at, folders / "records") is not None


def test_one_network_can_be_asked_for(folders):
    settings = ("--width", 2, "--epochs", 1, "--per_class", 9)
    run = rnc("run", *settings, "--only", "trades-frozen", cwd=folders)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("done: ") == 1
    assert "TRADES (frozen BN), seed 0" in run.stdout
