"""The command line: grids that stop, go on and skip; mistakes that are said in a sentence."""

import subprocess
import sys
from pathlib import Path

import pytest

from rnc import cli, runs

TINY = 'preset = "quick"\nwidth = 2\nepochs = 2\nsteps = 1\n'


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


def test_a_grid_stops_goes_on_and_skips_what_is_recorded(folders):
    grid = folders / "grid.toml"
    grid.write_text(f'[[run]]\n{TINY}only = ["st"]\n\n[[run]]\n{TINY}only = ["trades", "at"]\n')
    first = rnc("grid", grid, "--minutes", 0, cwd=folders)
    assert first.returncode == 0, first.stderr
    assert "networks: 3, recorded: 0" in first.stdout
    assert "about" in first.stdout
    assert "time is over with 3 networks to do; the same command goes on" in first.stdout
    second = rnc("grid", grid, cwd=folders)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("done: ") == 3
    assert len(list((folders / "records").rglob("*.json"))) == 3
    lost = next((folders / "records").rglob("*.json"))
    lost.unlink()  # as after a run that did not keep its record
    third = rnc("grid", grid, cwd=folders)
    assert third.stdout == "networks: 3, recorded: 3\n"
    assert lost.exists()


def test_a_grid_can_ask_for_stronger_attacks(folders):
    grid = folders / "grid.toml"
    grid.write_text(f'[[run]]\n{TINY}only = ["st"]\n')
    assert "1 of 1 done: " in rnc("grid", grid, cwd=folders).stdout
    grid.write_text(f'[[run]]\n{TINY}only = ["st"]\nstronger = true\n')
    again = rnc("grid", grid, cwd=folders)
    assert "networks: 1, recorded: 0" in again.stdout
    assert sorted(len(path.suffixes) for path in (folders / "records").rglob("*.json")) == [1, 2]
    assert rnc("grid", grid, cwd=folders).stdout == "networks: 1, recorded: 1\n"


def test_a_grid_goes_through_its_list_in_order(folders, monkeypatch):
    jobs = []
    monkeypatch.setattr(cli, "_compute", lambda found, *rest, **named: jobs.extend(found))
    grid = folders / "grid.toml"
    grid.write_text(
        f'[[run]]\n{TINY}seed = 3\nonly = ["at"]\n\n[[run]]\n{TINY}seeds = [2, 1]\nonly = ["st"]\n'
    )
    cli.main(["grid", str(grid)])
    assert [(t.label, t.seed) for t, *_ in jobs] == [("AT", 3), ("ST", 2), ("ST", 1)]


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).resolve().parents[1] / "book" / "records").glob("*.toml"))
)
def test_the_books_own_grids_can_be_read(path, monkeypatch):
    jobs = []
    monkeypatch.setattr(cli, "_compute", lambda found, *rest, **named: jobs.extend(found))
    cli.main(["grid", str(path)])
    assert len(set(jobs)) == len(jobs) >= 12
    if path.stem == "cifar10-small":  # those records are there
        assert all(runs.find(t, a, kind) for t, a, kinds in jobs for kind in kinds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[[run]]\nepoch = 3\n",
            "has a setting 'epoch'; allowed are only, stronger, preset, dataset",
        ),
        ('[[run]]\nonly = ["sst"]\n', "only must be some of st, at, trades, trades-frozen; got"),
        ("[[run]]\nstronger = 3\n", "stronger must be true or false; got 3 in "),
        ('[[run]]\ndevice = "cpu"\n', "has a setting 'device'; allowed are only"),
        ("[[run]]\nwidth = 0\n", "width must be a whole number, at least 1; got 0"),
        ("[run\n", "file must be a TOML list of [[run]] tables"),
        ("run = []\n", "file must be a TOML list of [[run]] tables"),
        ("[run]\nwidth = 2\n", "file must be a TOML list of [[run]] tables"),
        ("", "file must be a TOML list of [[run]] tables"),
    ],
)
def test_a_mistake_in_a_grid_is_said_before_anything_runs(folders, capsys, text, message):
    grid = folders / "grid.toml"
    grid.write_text(text)
    with pytest.raises(SystemExit, match="2"):
        cli.main(["grid", str(grid)])
    assert message in capsys.readouterr().err
    assert not (folders / "store").exists()


def test_mistakes_are_said_in_one_sentence(folders):
    for arguments, message in (
        (["run", "--norm", "l3"], "norm must be one of linf, l2; got 'l3'"),
        (["run", "--preset", "paper"], "start it all the same with python -m rnc run --long"),
        (["claims", "--dataset", "imagefolder:none"], f"there is no folder {folders}/none/train"),
        (["grid", "none.toml"], "file must be a TOML list of [[run]] tables; got none.toml"),
    ):
        run = rnc(*arguments, cwd=folders)
        assert run.returncode == 2, run.stderr
        assert message in run.stderr.splitlines()[-1]
        assert "Traceback" not in run.stderr


def test_a_training_that_diverges_does_not_stop_the_others(folders, monkeypatch, capsys):
    jobs = cli._jobs(cli.Study.of(width=2, epochs=2, steps=1), ["st", "at"])
    broken = (cli.runs.Training(**{**vars(jobs[0][0]), "lr": 1e9}), *jobs[0][1:])
    with pytest.raises(SystemExit, match="1"):
        cli._compute([broken, jobs[1]], "cpu", minutes=5, long=False)
    said = capsys.readouterr().out
    assert "failed: " in said
    assert "ST diverged in epoch" in said
    assert "done: " in said
    assert runs.find(*broken[:2]) is None
    assert runs.find(*jobs[1][:2]) is not None


def test_one_network_can_be_asked_for(folders):
    run = rnc("run", "--width", 2, "--epochs", 1, "--only", "trades-frozen", cwd=folders)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("done: ") == 1
    assert "TRADES (frozen BN), seed 0" in run.stdout
