"""The store: killed, raced, damaged, full and copied, it still gives the same networks."""

import errno
import functools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import measure_weights_only, write_images

from rnc import judge, progress
from rnc.errors import ParameterError
from rnc.progress import OutOfTime
from rnc.study import data, folders, methods, store
from rnc.study.files import StoreError, digest, read_json, read_tensors, writable, write
from rnc.study.measurements import MEASUREMENTS, standard
from rnc.study.settings import Study
from rnc.study.step import Step
from rnc.study.store import Busy, Mismatch, Request, TooLong
from rnc.study.training import Diverged, train

# A training in a process of its own, with a checkpoint after every epoch. It begins when a
# file is there, if one is named.
WORKER = """
import pathlib, sys, time
from conftest import measure_weights_only
from rnc.study import store
from rnc.study.settings import Study
method, epochs, gate = sys.argv[1], int(sys.argv[2]), "".join(sys.argv[3:])
train = store.train
def gated(*arguments, **named):
    while gate and not pathlib.Path(gate).exists():
        time.sleep(0.01)
    return train(*arguments, **named, checkpoint_seconds=0)
store.train = gated
measure_weights_only()
study = Study.of(width=2, epochs=epochs, steps=2, per_class=20)
store.make(store.Request(study.training(method), study.evaluation))
print("trained", flush=True)
"""

# A record with stronger attacks, in a process that is killed once a measurement has so many parts.
MEASURER = """
import os, signal, sys
from rnc.study import store
from rnc.study.settings import Study
name, count = sys.argv[1], int(sys.argv[2])
write = store.write_json
def killed(path, content):
    write(path, content)
    if content.get("measurement") == name and len(content.get("parts", ())) == count:
        os.kill(os.getpid(), signal.SIGKILL)
store.write_json = killed
study = Study.of(width=2, epochs=3, steps=2, per_class=20)
store.make(store.Request(study.training("st"), study.evaluation, ("stronger",)))
"""


def worker(*arguments, code=WORKER):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.path.dirname(__file__)},
    )


@pytest.fixture
def st(tiny):
    return Request(tiny.training("st"), tiny.evaluation)


@pytest.fixture
def stronger(st):
    return replace(st, extra=("stronger",))


@pytest.fixture
def smaller(st):
    """The same network, measured at another radius."""
    return replace(st, evaluation=replace(st.evaluation, attack=st.evaluation.attack.at_radius(4)))


@pytest.fixture
def only_trained(monkeypatch):
    """A network is measured by the digests of all its snapshots alone."""
    declared = dict(MEASUREMENTS)
    measure_weights_only()
    yield
    MEASUREMENTS.clear()
    MEASUREMENTS.update(declared)


@pytest.fixture(autouse=True)
def no_published_records(tmp_path, monkeypatch):
    monkeypatch.setenv("RNC_RECORDS", str(tmp_path / "records"))
    return tmp_path / "records"


def values(record):
    """What was measured, without where and when."""
    return {name: found["values"] for name, found in record.measured.items()}


# Killed, raced, stopped ---------------------------------------------------------------------


def test_killed_at_several_moments_it_ends_as_if_it_had_not_been(empty_store, tiny):
    method, epochs = "trades-frozen", 16
    training = replace(tiny.training(method), epochs=epochs)
    folder = store.home(training)
    # as soon as the store shows that a training is under way; a moment later; later still
    for marker, delay in (("epoch-0000", 0), ("checkpoint", 0.05), ("epoch-0004", 0.1)):
        process = worker(method, epochs)
        while not (folder / f"{marker}.safetensors").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.002)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it must not have ended by itself"
        process.stdout.close()
        process.stderr.close()
    output, errors = worker(method, epochs).communicate()
    assert output == "trained\n"
    assert "resuming" in errors

    end = train(training, data.load("digits", per_class=20))
    tensors, notes = read_tensors(folder / "checkpoint.safetensors")
    assert notes["history"] == end.history
    assert all(torch.equal(tensors[f"model.{n}"], t) for n, t in end.model.items())
    assert all(torch.equal(tensors[f"momentum.{i:04d}"], m) for i, m in enumerate(end.momentum))


def test_two_processes_train_once(empty_store, tmp_path, only_trained):
    gate = tmp_path / "gate"
    processes = [worker("at", 3, gate) for _ in range(2)]
    # the first to come holds the lock and waits at the gate; the other one says that it waits
    streams, _, _ = select.select([p.stderr for p in processes], [], [], 60)
    (stream,) = streams
    assert "another process works on digits-20-vgg11w2-at" in stream.readline()
    gate.touch()
    assert [p.communicate()[0] for p in processes] == ["trained\n"] * 2
    (run,) = (empty_store / "v1").iterdir()
    modified = (run / "epoch-0001.safetensors").stat().st_mtime_ns
    study = Study.of(width=2, epochs=3, steps=2, per_class=20)
    store.make(Request(study.training("at"), study.evaluation))
    assert (run / "epoch-0001.safetensors").stat().st_mtime_ns == modified


def test_a_lock_is_waited_for_within_the_budget_or_not_at_all(empty_store, st):
    with store._locked(store.home(st.training)):
        began = time.monotonic()
        with (
            progress.until(time.time() + 0.3),
            pytest.raises(OutOfTime, match="another process works on digits-20-vgg11w2-st"),
        ):
            store.make(st)
        assert 0.2 < time.monotonic() - began < 10
        with pytest.raises(Busy, match="digits-20-vgg11w2-st"):
            store.make(st, wait=False)
    assert not list(empty_store.rglob("*.safetensors"))


@pytest.mark.parametrize("method", ["st", "at"])
def test_the_quick_preset_is_bitwise_the_same_in_another_process(method, monkeypatch, tmp_path):
    """Against the checkout's own record, which make test computed before."""
    study = Study.of()
    request = Request(study.training(method), study.evaluation)
    here = store.make(request)
    monkeypatch.setenv("RNC_STORE", str(tmp_path))
    short = {name: MEASUREMENTS[name] for name in ("leaping", "layers", "test")}
    monkeypatch.setattr(store, "MEASUREMENTS", short)
    again = store.make(request)
    assert again.trained["network"] == here.trained["network"]
    assert again.measured.keys() == {"leaping", "layers", "test"}
    assert values(again).items() <= values(here).items()


def test_a_run_stops_in_time_and_goes_on_elsewhere(
    empty_store, tiny, tmp_path, monkeypatch, capsys
):
    training = replace(tiny.training("at"), epochs=6)
    st = Request(training, tiny.evaluation)
    clock = iter(range(1000))
    monkeypatch.setattr(progress.time, "time", lambda: next(clock))
    with progress.until(4), pytest.raises(OutOfTime, match=r"training AT, seed 0: epoch \d of 6"):
        store.make(st)
    shutil.move(empty_store, tmp_path / "another machine")
    monkeypatch.setenv("RNC_STORE", str(tmp_path / "another machine"))
    capsys.readouterr()
    record = store.make(st)
    assert "resuming" in capsys.readouterr().err
    expected = train(training, data.load("digits", per_class=20)).history
    assert record.history("loss").tolist() == [float(f"{e['loss']:.6g}") for e in expected]


def test_a_measurement_that_was_stopped_goes_on_from_its_parts(
    empty_store, st, stronger, monkeypatch
):
    """Also stronger attacks; the same call ends as if nothing had stopped it."""
    clean = store.make(stronger)
    for name in ("trajectory", "stronger"):
        place = st.path(MEASUREMENTS[name])
        whole = place.read_text()
        place.unlink()
        steps, function = [], MEASUREMENTS[name].function

        def stopped(subject, part, function=function, steps=steps):
            def counted(step, compute):
                if step not in part.done and len(steps) == 2:
                    raise KeyboardInterrupt
                steps.append(step)
                return part(step, compute)

            counted.done = part.done
            return function(subject, counted)

        changed = replace(MEASUREMENTS[name], function=stopped)
        with monkeypatch.context() as patch:
            patch.setitem(MEASUREMENTS, name, changed)
            with pytest.raises(KeyboardInterrupt):
                store.make(stronger)
        assert store.find(stronger) is None
        parts = read_json(place)["parts"]
        assert list(parts) == steps[:2]
        again = store.make(stronger)
        assert values(again) == values(clean)
        assert len(read_json(place)) == len(json.loads(whole)), (
            "parts stay in no file that is whole"
        )


def test_killed_in_the_middle_of_measuring_it_ends_as_if_it_had_not_been(
    empty_store, stronger, tmp_path, monkeypatch
):
    """Each radius of the sweep and each of the stronger attacks is kept as it is done."""
    for name, parts in (("sweep", 3), ("stronger", 2), ("stronger", 5)):
        process = worker(name, parts, code=MEASURER)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        kept = read_json(stronger.path(MEASUREMENTS[name]))
        assert len(kept["parts"]) == parts
        assert "values" not in kept
    resumed = store.make(stronger)
    monkeypatch.setenv("RNC_STORE", str(tmp_path / "another"))
    assert values(resumed) == values(store.make(stronger))


# Found and made once ------------------------------------------------------------------------


def test_a_record_is_made_once(empty_store, st, monkeypatch):
    first = store.make(st)
    monkeypatch.setattr(store, "train", None)  # neither trained again
    monkeypatch.setattr(store, "_measure", None)  # nor measured
    assert store.make(st) == first
    assert {"device", "torch", "commit", "seconds"} <= set(first.trained["environment"])
    assert first.measuring_seconds > 0


def test_another_attack_measures_but_does_not_train(empty_store, st, smaller, monkeypatch):
    store.make(st)
    monkeypatch.setattr(store, "train", None)
    assert store.make(smaller).evaluation.attack.eps == 4


def test_a_better_measure_is_made_again_and_nothing_else(empty_store, st, monkeypatch):
    made = []
    before = store.make(st)
    better = replace(
        MEASUREMENTS["test"], version=2, function=lambda subject, part: {"clean": 2.0, "pgd": 1.0}
    )
    monkeypatch.setitem(MEASUREMENTS, "test", better)
    monkeypatch.setattr(store, "train", None)
    measure = store._measure
    monkeypatch.setattr(
        store, "_measure", lambda m, *rest: made.append(m.name) or measure(m, *rest)
    )
    after = store.make(st)
    assert made == ["test"]
    assert after.test("clean") == 2
    assert values(after) == values(before) | {"test": {"clean": 2.0, "pgd": 1.0}}


def test_what_is_measured_beside_the_standard_is_named(tiny):
    with pytest.raises(ParameterError, match="extra must be one of .*stronger.*; got 'strong'"):
        Request(tiny.training("st"), tiny.evaluation, ("strong",))


def test_measured_on_a_part_of_the_points_all_stand_beside_it(empty_store, st):
    record = store.make(replace(st, evaluation=replace(st.evaluation, per_class=5)))
    assert record.measured.keys() - {m.name for m in st.measurements} == {"everything"}
    assert record["everything"]["clean"]["loss"] != record.end("clean", "loss")


# Damage -------------------------------------------------------------------------------------


def truncate(content):
    return content[: len(content) // 2]


def empty(content):
    return b""


def alter(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def alter_header(content):
    """A digit of the notes: the library itself would not see it."""
    at = content.index(b'"notes"') + 30
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize("damage", [truncate, empty, alter, alter_header])
def test_damaged_weights_are_noticed_said_and_repaired(
    empty_store, st, smaller, only_trained, damage
):
    before = store.make(st)
    path = store._snapshot(st.training, 1)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match=r"epoch-0001.safetensors is damaged .* again"):
        after = store.make(smaller)
    assert after["weights"] == before["weights"]
    assert after.trained["network"] == before.trained["network"]


@pytest.mark.parametrize("damage", [truncate, alter])
def test_a_damaged_checkpoint_is_noticed_said_and_repaired(
    empty_store, st, smaller, only_trained, damage
):
    before = store.make(st)
    (store.home(st.training) / "training.json").unlink()  # as if it had not come to its end
    path = store.home(st.training) / "checkpoint.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match="checkpoint.* is damaged .* again from the start"):
        after = store.make(smaller)
    assert after["weights"] == before["weights"]


def test_a_lost_snapshot_is_noticed(empty_store, st, smaller, only_trained):
    before = store.make(st)
    store._snapshot(st.training, 2).unlink()
    with pytest.warns(UserWarning, match="epoch-0002"):
        assert store.make(smaller)["weights"] == before["weights"]


def test_the_last_weights_are_enough_for_what_needs_no_others(
    empty_store, st, smaller, stronger, monkeypatch
):
    store.make(st)
    store._snapshot(st.training, 1).unlink()
    monkeypatch.setattr(store, "train", None)
    assert store.make(stronger)["stronger"]
    with (
        pytest.warns(UserWarning, match="epoch-0001"),  # along training they are all needed
        pytest.raises(TypeError),
    ):
        store.make(smaller)


def test_a_damaged_measurement_is_made_again(empty_store, st):
    first = store.make(st)
    path = st.path(MEASUREMENTS["trajectory"])
    path.write_text(path.read_text()[:100])
    with pytest.warns(UserWarning, match="not valid JSON"):
        again = store.make(st)
    assert values(again) == values(first)


# Folders and space --------------------------------------------------------------------------


def test_an_unwritable_store_is_an_error_before_training(st, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "train", None)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RNC_STORE", str(tmp_path / "file" / "store"))
    with pytest.raises(
        StoreError, match=r"file/store/.* cannot be written \(Not a directory\); set RNC_STORE"
    ):
        store.make(st)


def test_a_disk_without_space_is_an_error_before_training(empty_store, st, monkeypatch):
    monkeypatch.setattr(store, "train", None)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: SimpleNamespace(free=100_000))
    with pytest.raises(StoreError, match=r"ST, seed 0 needs \d+ MB in .*store, and 0 MB are free"):
        store.make(replace(st, training=replace(st.training, width=16)))


def test_the_space_that_is_asked_for_is_what_a_run_takes(
    empty_store, st, only_trained, monkeypatch
):
    training = replace(st.training, width=8, epochs=12)
    asked = []
    monkeypatch.setattr(
        store.shutil, "disk_usage", lambda path: asked.append(path) or SimpleNamespace(free=1e12)
    )
    store.make(replace(st, training=training))
    files = list(store.home(training).glob("*.safetensors"))
    taken = sum(path.stat().st_size for path in files)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: SimpleNamespace(free=taken))
    images = data.load("digits", per_class=20)
    with pytest.raises(StoreError):  # a checkpoint is written beside the one before it
        store._check_space(training, images, None)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: SimpleNamespace(free=1.4 * taken))
    store._check_space(training, images, None)
    assert asked


def test_a_disk_that_fills_up_leaves_the_last_checkpoint(
    empty_store, st, only_trained, monkeypatch
):
    training = replace(st.training, epochs=4)
    st = replace(st, training=training)
    monkeypatch.setattr(store, "train", functools.partial(train, checkpoint_seconds=0))
    replaced, full = os.replace, []

    def until_full(source, target):
        if target.name == "checkpoint.safetensors" and len(full) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        full.extend([target] * (target.name == "checkpoint.safetensors"))
        replaced(source, target)

    monkeypatch.setattr(os, "replace", until_full)
    with pytest.raises(StoreError, match="No space left on device"):
        store.make(st)
    assert not list(empty_store.rglob("*.part"))
    assert read_tensors(store.home(training) / "checkpoint.safetensors")[1]["epoch"] == 2
    monkeypatch.setattr(os, "replace", replaced)
    whole = train(training, data.load("digits", per_class=20))
    assert store.make(st)["weights"]["4"] == digest(whole.model)


def test_folders_and_files_are_written_by_many_at_once(tmp_path):
    """None of them sees another's half or removes what another needs."""

    def write_one(number):
        writable(tmp_path / "records")
        write(tmp_path / "records" / "one.json", b"%d" % number * 10_000)
        return (tmp_path / "records" / "one.json").read_bytes()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(write_one, range(10, 90)))
    assert {(len(content), len(set(content))) for content in found} <= {(20_000, 1), (20_000, 2)}
    assert [path.name for path in (tmp_path / "records").iterdir()] == ["one.json"]


def test_what_was_half_written_as_a_process_died_is_removed(empty_store, st):
    store.make(st)
    left = store.home(st.training) / ".sweep.1.json.elsewhere.1.part"
    left.touch()
    store.make(replace(st, extra=("stronger",)))
    assert not left.exists()


def test_nothing_half_written_is_left(empty_store, st):
    store.make(st)
    assert not list(empty_store.rglob("*.part"))
    files = list(store.home(st.training).rglob("*.json"))
    assert len(files) == 1 + len(st.measurements)
    for path in files:
        json.loads(path.read_text(), parse_constant=pytest.fail)  # strict JSON: no NaN


@pytest.mark.parametrize(
    ("variable", "folder", "name"),
    [
        ("RNC_STORE", folders.store, "runs"),
        ("RNC_RECORDS", folders.published, "book/records"),
        ("RNC_DATA", folders.data, "data"),
    ],
)
def test_folders_are_the_checkouts_unless_named(monkeypatch, tmp_path, variable, folder, name):
    monkeypatch.delenv(variable, raising=False)
    assert folder() == folders.CHECKOUT / name
    monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    assert folder() == tmp_path / "elsewhere"
    monkeypatch.delenv(variable)
    monkeypatch.setattr(folders, "CHECKOUT", tmp_path)  # installed, without a checkout
    assert "rnc" in folder().parts


# Divergence ---------------------------------------------------------------------------------


def test_divergence_keeps_the_last_good_checkpoint_and_leaves_no_record(
    empty_store, st, monkeypatch
):
    training = replace(st.training, epochs=4)
    st = replace(st, training=training)
    monkeypatch.setattr(store, "train", functools.partial(train, checkpoint_seconds=0))
    calls, objective = [], methods.Method.objective

    def poisoned(*arguments):
        loss, logits = objective(*arguments)
        calls.append(loss)
        return (loss * float("nan"), logits) if len(calls) == 6 else (loss, logits)

    monkeypatch.setattr(methods.Method, "objective", poisoned)
    with pytest.raises(Diverged, match="ST diverged in epoch 3: loss nan"):
        store.make(st)
    tensors, notes = read_tensors(store.home(training) / "checkpoint.safetensors")
    assert notes["epoch"] == 2
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert not list(empty_store.rglob("*.json"))


def test_weights_that_are_not_finite_are_no_checkpoint(tiny, monkeypatch):
    """The last update of an epoch can spoil weights that its losses do not show."""
    training, kept = tiny.training("st"), []

    def spoil(step, number):
        step.model.classifier.weight.data[0, 0] = float("inf")
        return {"loss": 1.0, "accuracy": 1.0}

    monkeypatch.setattr(Step, "epoch", spoil)
    with pytest.raises(Diverged, match="epoch 1: a weight is not finite; loss 1.0"):
        train(training, data.load("digits"), on_snapshot=kept.append)
    assert [snapshot.epoch for snapshot in kept] == [0]


# Published, and of one network --------------------------------------------------------------


def test_a_published_record_is_found_without_the_store(empty_store, st, stronger, monkeypatch):
    first = store.make(st)
    assert store.published_records() == []
    assert store.make(st, publish=True) == first
    more = store.make(stronger, publish=True)
    shutil.rmtree(empty_store)
    monkeypatch.setattr(store, "train", None)
    assert values(store.make(st)).items() >= values(first).items()
    assert store.make(stronger) == more
    assert store.published_records() == [more]
    assert store.estimate(stronger, "cpu") == 0


@pytest.fixture
def train_elsewhere(monkeypatch):
    """Training ends elsewhere once this is called, which gives the epochs that it begins."""
    epoch, begun = Step.epoch, []

    def elsewhere(step, number):
        begun.append(number)
        images = step.images
        step.images = replace(images, x=(images.x - 0.05).clamp(0, 1))
        found = epoch(step, number)
        step.images = images
        return found

    def from_now_on():
        monkeypatch.setattr(Step, "epoch", elsewhere)
        monkeypatch.setattr(store, "train", functools.partial(train, checkpoint_seconds=0))
        return begun

    return from_now_on


@pytest.fixture
def of_another_processor(empty_store, st, train_elsewhere):
    """A record of ST is published, and its store is lost; training ends elsewhere from now on."""
    store.make(st, publish=True)
    shutil.rmtree(empty_store)
    return train_elsewhere()


def test_results_of_two_networks_never_stand_side_by_side(of_another_processor, st, stronger):
    """It is said as soon as the training shows it, and not after hours of attacks."""
    with pytest.raises(Mismatch, match=r"ST, seed 0 .* another processor made.* RNC_RECORDS"):
        store.make(stronger)
    assert of_another_processor == [0]
    assert store.find(st) is not None  # the published one


def test_another_network_is_measured_where_nothing_stands_beside_it(
    of_another_processor, st, smaller, stronger, tmp_path, monkeypatch
):
    made = store.make(smaller)
    published = store.find(st)
    assert made.trained["network"] != published.trained["network"]
    # what it says is the way out
    with pytest.raises(Mismatch):
        store.make(stronger)
    monkeypatch.setenv("RNC_RECORDS", str(tmp_path / "empty"))
    anew = store.make(stronger)
    assert anew.trained["network"] == made.trained["network"]
    # from then on the store's own network is the one that is shown, and the other stays as it is
    monkeypatch.setenv("RNC_RECORDS", str(tmp_path / "records"))
    assert store.find(st) == anew
    before = {p: p.read_bytes() for p in (tmp_path / "records").rglob("*.json")}
    with pytest.raises(Mismatch):
        store.make(stronger, publish=True)
    assert {p: p.read_bytes() for p in (tmp_path / "records").rglob("*.json")} == before


def test_a_record_without_a_digest_of_weights_is_compared_by_its_history(
    empty_store, st, stronger, no_published_records
):
    """Older records have none; on the processor that made them a training can go beside them."""
    store.make(st, publish=True)
    shutil.rmtree(empty_store)
    for path in no_published_records.rglob("*.json"):
        text = json.loads(path.read_text())
        text["network"] |= {"data": None, "weights": None}
        path.write_text(json.dumps(text))
    assert store.make(stronger)["stronger"]


def one_network(record):
    (network,) = {json.dumps(found["network"]) for found in record.measured.values()}
    return network == json.dumps(record.trained["network"])


def test_a_network_that_is_trained_again_and_ends_elsewhere_is_measured_anew(
    empty_store, st, smaller, stronger, train_elsewhere
):
    """Its last weights were lost; nothing of it stands beside what was measured before."""
    before = store.make(st)
    store._snapshot(st.training, 3).unlink()
    train_elsewhere()
    with pytest.warns(UserWarning, match="epoch-0003.*; training digits-20-vgg11w2-st"):
        after = store.make(stronger)
    assert before.trained["network"] != after.trained["network"]
    assert one_network(after)
    assert store.find(st) == after
    assert one_network(store.make(smaller))


def test_a_retraining_that_is_stopped_leaves_no_record_of_two_networks(
    empty_store, st, smaller, train_elsewhere, monkeypatch
):
    store.make(st)
    store._snapshot(st.training, 3).unlink()
    begun = train_elsewhere()
    elsewhere = Step.epoch

    def stopped(*arguments):
        if len(begun) == 2:
            raise KeyboardInterrupt
        return elsewhere(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Step, "epoch", stopped)
        with pytest.warns(UserWarning, match="epoch-0003"), pytest.raises(KeyboardInterrupt):
            store.make(smaller)
    assert store.find(st) is store.find(smaller) is None
    assert one_network(store.make(smaller))
    assert one_network(store.make(st))


def test_only_what_is_of_the_published_network_is_published(
    empty_store, st, stronger, no_published_records
):
    store.make(stronger, publish=True)
    (layers,), (strong,) = (
        no_published_records.rglob(f"{n}.1.json") for n in ("layers", "stronger")
    )
    expected = layers.read_text()
    layers.write_text(expected[:100])  # a damaged copy is replaced
    with pytest.warns(UserWarning, match="not valid JSON"):
        store.make(stronger, publish=True)
    assert layers.read_text() == expected
    strong.unlink()
    foreign = stronger.path(MEASUREMENTS["stronger"])
    foreign.write_text(foreign.read_text().replace('"weights": "', '"weights": "of another '))
    store.make(st, publish=True)
    assert not strong.exists()


def test_a_published_record_that_cannot_be_read_hides_no_other(
    empty_store, st, no_published_records
):
    whole = store.make(st, publish=True)
    (settings,) = no_published_records.rglob("training.json")
    for name, text in (("no-json", "{"), ("no-settings", "{}"), ("no-method", "")):
        place = no_published_records / "v1" / name
        place.mkdir()
        wrong = settings.read_text().replace('"method": "st"', '"method": "none"')
        (place / "training.json").write_text(text or wrong)
    (no_published_records / "v1" / "no-training" / "linf8").mkdir(parents=True)
    with (
        pytest.warns(UserWarning, match="training.json is damaged"),
        pytest.warns(UserWarning, match="no-json cannot be read"),
        pytest.warns(UserWarning, match="no-settings cannot be read .*'settings'"),
        pytest.warns(UserWarning, match="no-method cannot be read .*'none'"),
    ):
        assert store.published_records() == [whole]


def test_a_measure_that_changes_leaves_the_others_readable_where_nothing_can_be_made(
    empty_store, st, monkeypatch
):
    whole = store.make(st, publish=True)
    monkeypatch.setitem(MEASUREMENTS, "layers", replace(MEASUREMENTS["layers"], version=2))
    (part,) = store.published_records()
    assert whole.measured.keys() - part.measured.keys() == {"layers"}
    assert part.end("pgd", "nc1") == whole.end("pgd", "nc1")
    verdicts = {v.claim.id: v.verdict for v in judge({"ST": [part]})}
    assert verdicts["C12"] == "not measured"
    assert verdicts["C3"] != "not measured"
    assert store.find(st) is None


def test_a_published_record_without_what_came_later_is_taken_as_it_is(
    empty_store, st, no_published_records, monkeypatch
):
    """Where its network is not there to be measured, and nobody asked for it by name."""
    whole = store.make(st, publish=True)
    (path,) = no_published_records.rglob("geometry.1.json")
    path.unlink()
    store.home(st.training).rename(empty_store / "away")
    monkeypatch.setattr(store, "train", None)
    found = store.make(st)
    assert found.measured.keys() == whole.measured.keys() - {"geometry"}
    assert store.find(st, no_published_records) is None  # a grid makes it all the same
    assert store.find(replace(st, extra=("geometry",))) is None
    (empty_store / "away").rename(store.home(st.training))
    st.path(MEASUREMENTS["geometry"]).unlink()
    assert values(store.make(st)) == values(whole)


def test_files_that_know_nothing_of_weights_join_no_two_networks(
    empty_store, st, no_published_records
):
    """An older training without digests agrees with both of two networks of its history."""
    store.make(st, publish=True)
    training = store.home(st.training, no_published_records) / "training.json"
    text = json.loads(training.read_text())
    training.write_text(json.dumps(text | {"network": text["network"] | {"weights": None}}))
    for path in no_published_records.rglob("linf8*/*.json"):
        path.write_text(path.read_text().replace('"weights": "', '"weights": "of another '))
    (store.home(st.training) / st.evaluation.slug / "sweep.1.json").unlink()
    assert store.find(st) is not None  # the published one, which has all
    assert one_network_of_files(store.find(st))
    with pytest.raises(Mismatch):
        store.make(replace(st, extra=("stronger",)), publish=True)


def one_network_of_files(record):
    return len({found["network"]["weights"] for found in record.measured.values()}) == 1


def test_a_network_that_is_not_yet_measured_hides_no_published_one(
    of_another_processor, st, tmp_path, monkeypatch
):
    published = store.find(st)
    monkeypatch.setenv("RNC_RECORDS", str(tmp_path / "empty"))
    store.make(st)
    monkeypatch.setenv("RNC_RECORDS", str(tmp_path / "records"))
    assert store.find(st) != published
    for name in ("sweep", "layers"):  # as if it had been stopped
        st.path(MEASUREMENTS[name]).unlink()
    assert store.find(st) == published
    assert store.published_records() == [published]


def test_a_missing_file_of_something_else_costs_no_network(empty_store, st, stronger, monkeypatch):
    store.make(st)
    before = {p: p.read_bytes() for p in empty_store.rglob("*.safetensors")}

    def elsewhere(subject, part):
        raise FileNotFoundError("a folder that is not mounted")

    changed = replace(MEASUREMENTS["stronger"], function=elsewhere)
    monkeypatch.setitem(MEASUREMENTS, "stronger", changed)
    with pytest.raises(FileNotFoundError, match="not mounted"):
        store.make(stronger)
    assert store.find(st) is not None
    assert {p: p.read_bytes() for p in empty_store.rglob("*.safetensors")} == before


def test_hours_of_training_anew_are_not_begun_unasked(empty_store, st, smaller, monkeypatch):
    store.make(st)
    store._snapshot(st.training, 1).unlink()
    monkeypatch.setattr(store.cost, "seconds", lambda *arguments: 1e6 * arguments[-1])
    with pytest.raises(TooLong, match="about 12 days"):
        store.make(smaller)
    assert store.find(st) is not None


def test_other_images_than_the_published_ones_are_said_before_any_training(
    empty_store, st, stronger, no_published_records, monkeypatch
):
    store.make(st, publish=True)
    shutil.rmtree(empty_store)
    for path in no_published_records.rglob("*.json"):
        path.write_text(path.read_text().replace('"data": "', '"data": "other '))
    monkeypatch.setattr(store, "train", None)
    with pytest.raises(Mismatch, match="published of other images than digits has now"):
        store.make(stronger)


def test_weights_of_other_images_are_not_measured(tmp_path, empty_store, tiny):
    for part in ("train", "test"):
        write_images(tmp_path / "p" / part, {"a": 4, "b": 4}, size=(16, 16))
    study = Study.of(width=2, epochs=1, steps=1, dataset=f"imagefolder:{tmp_path / 'p'}")
    request = Request(study.training("st"), study.evaluation)
    store.make(request)
    shutil.rmtree(tmp_path / "p" / "train" / "a")
    write_images(tmp_path / "p" / "train", {"a": 4}, size=(16, 16), seed=1)
    data._load.cache_clear()
    with pytest.raises(Mismatch, match="was trained on other images than imagefolder:.* has now"):
        store.make(replace(request, extra=("stronger",)))


def test_every_published_record_is_found_by_its_settings(monkeypatch):
    monkeypatch.delenv("RNC_RECORDS")
    monkeypatch.setenv("RNC_STORE", "/nowhere")
    records = store.published_records()
    homes = {store.home(r.training, folders.published()) for r in records}
    assert homes == {p.parent for p in folders.published().glob("v1/*/training.json")}
    for record in records:
        request = Request(record.training, record.evaluation)
        assert {m.name for m in request.measurements if not m.later} <= record.measured.keys()


def test_what_would_take_hours_is_not_begun_unasked(empty_store):
    study = Study.of("paper", device="cpu")
    at = Request(study.training("at"), study.evaluation)
    with pytest.raises(
        TooLong, match=r"no record of AT, seed 1 on cifar10.* \d+ days on this CPU: use a GPU"
    ):
        store.make(at)
    with pytest.raises(TooLong, match="no record with stronger of AT.* run --long"):
        store.make(replace(at, extra=("stronger",)))
    assert not empty_store.exists()


def test_files_are_read_and_written_as_utf8_whatever_the_machine_prefers(empty_store, tmp_path):
    grid = tmp_path / "grid.toml"
    grid.write_text(
        '# ε\n[[run]]\nwidth = 2\nepochs = 1\nsteps = 1\nper_class = 9\nonly = ["st"]\n', "utf-8"
    )
    command = ["-X", "warn_default_encoding", "-W", "error::EncodingWarning:rnc", "-m", "rnc"]
    run = subprocess.run(
        [sys.executable, *command, "grid", grid],
        capture_output=True,
        text=True,
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    )
    assert "1 of 1 done" in run.stdout, run.stderr


def test_the_standard_measurements_are_the_ones_that_records_have(st):
    assert {m.name for m in st.measurements} == {
        "trajectory",
        "leaping",
        "sweep",
        "layers",
        "test",
        "geometry",
        "changed",
        "baselines",
    }
    assert MEASUREMENTS["trajectory"].snapshots
    assert MEASUREMENTS["trajectory"].function is standard.trajectory
