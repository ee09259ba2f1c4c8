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
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import write_images

from rnc import progress
from rnc.errors import ParameterError
from rnc.progress import OutOfTime
from rnc.study import data, folders, methods, store
from rnc.study import training as training_module
from rnc.study.files import StoreError, digest, read_json, read_tensors
from rnc.study.measurements import MEASUREMENTS, Parts, Subject, plain, standard
from rnc.study.settings import Study
from rnc.study.store import Busy, Mismatch, TooLong
from rnc.study.training import Diverged, reproducible, train

# A training in a process of its own, with a checkpoint after every epoch. It begins when a
# file is there, if one is named.
WORKER = """
import pathlib, sys, time
from rnc.study import store
from rnc.study.settings import Study
method, epochs, gate = sys.argv[1], int(sys.argv[2]), sys.argv[3]
train = store.train
def gated(*arguments, **named):
    while gate and not pathlib.Path(gate).exists():
        time.sleep(0.01)
    return train(*arguments, **named, checkpoint_seconds=0)
store.train = gated
study = Study.of(width=2, epochs=epochs, steps=2, per_class=20)
store.train_only(study.training(method))
print("trained", flush=True)
"""


def worker(method, epochs, gate=""):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, method, str(epochs), str(gate)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(autouse=True)
def no_published_records(tmp_path, monkeypatch):
    monkeypatch.setenv("RNC_RECORDS", str(tmp_path / "records"))
    return tmp_path / "records"


def values(record):
    """What was measured, without where and when."""
    return {name: found["values"] for name, found in record.measured.items()}


# Killed, raced, stopped ---------------------------------------------------------------------


@pytest.mark.parametrize("method", ["at", "trades-frozen"])
def test_killed_at_several_moments_it_ends_as_if_it_had_not_been(empty_store, tiny, method):
    epochs = 16
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


def test_two_processes_train_once(empty_store, tmp_path):
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
    store.train_only(Study.of(width=2, epochs=3, steps=2, per_class=20).training("at"))
    assert (run / "epoch-0001.safetensors").stat().st_mtime_ns == modified


def test_a_lock_is_waited_for_within_the_budget_or_not_at_all(empty_store, tiny):
    training = tiny.training("st")
    with store._locked(store.home(training)):
        began = time.monotonic()
        with (
            progress.until(time.time() + 0.3),
            pytest.raises(OutOfTime, match="another process works on digits-20-vgg11w2-st"),
        ):
            store.make(training, tiny.evaluation)
        assert 0.2 < time.monotonic() - began < 10
        with pytest.raises(Busy, match="digits-20-vgg11w2-st"):
            store.make(training, tiny.evaluation, wait=False)
    assert not list(empty_store.rglob("*.safetensors"))


@pytest.mark.parametrize("method", ["st", "at"])
def test_the_quick_preset_is_bitwise_the_same_in_another_process(method, monkeypatch, tmp_path):
    """Against the checkout's own record, which make test computed before."""
    study = Study.of()
    training = study.training(method)
    here = store.make(training, study.evaluation)
    monkeypatch.setenv("RNC_STORE", str(tmp_path))
    states = store.train_only(training)
    assert read_json(store.home(training) / "training.json")["network"] == here.trained["network"]
    images = data.load("digits")
    subject = Subject(training, study.evaluation, images, states.__getitem__)
    with reproducible(images.y.device):
        for name in ("leaping", "layers", "test"):
            assert plain(MEASUREMENTS[name].function(subject, Parts())) == here[name]


def test_a_run_stops_in_time_and_goes_on_elsewhere(
    empty_store, tiny, tmp_path, monkeypatch, capsys
):
    training = replace(tiny.training("at"), epochs=6)
    clock = iter(range(1000))
    monkeypatch.setattr(progress.time, "time", lambda: next(clock))
    with progress.until(4), pytest.raises(OutOfTime, match=r"training AT, seed 0: epoch \d of 6"):
        store.make(training, tiny.evaluation)
    shutil.move(empty_store, tmp_path / "another machine")
    monkeypatch.setenv("RNC_STORE", str(tmp_path / "another machine"))
    capsys.readouterr()
    record = store.make(training, tiny.evaluation)
    assert "resuming" in capsys.readouterr().err
    expected = train(training, data.load("digits", per_class=20)).history
    assert record.history("loss").tolist() == [float(f"{e['loss']:.6g}") for e in expected]


def test_a_measurement_that_was_stopped_goes_on_from_its_parts(empty_store, tiny, monkeypatch):
    """Also stronger attacks; a budget stops them, and the same call ends as if it had not."""
    training = tiny.training("st")
    clean = store.make(training, tiny.evaluation, ["stronger"])
    for name in ("trajectory", "stronger"):
        place = store._path(training, tiny.evaluation, MEASUREMENTS[name])
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
                store.make(training, tiny.evaluation, ["stronger"])
        assert store.find(training, tiny.evaluation, ["stronger"]) is None
        parts = read_json(place)["parts"]
        assert list(parts) == steps[:2]
        again = store.make(training, tiny.evaluation, ["stronger"])
        assert values(again) == values(clean)
        assert len(read_json(place)) == len(json.loads(whole)), (
            "parts stay in no file that is whole"
        )


# Found and made once ------------------------------------------------------------------------


def test_a_record_is_made_once(empty_store, tiny, monkeypatch):
    training = tiny.training("st")
    first = store.make(training, tiny.evaluation)
    monkeypatch.setattr(store, "train", None)  # neither trained again
    monkeypatch.setattr(store, "_measure", None)  # nor measured
    assert store.make(training, tiny.evaluation) == first
    assert {"device", "torch", "commit", "seconds"} <= set(first.trained["environment"])
    assert first.measuring_seconds > 0


def test_another_attack_measures_but_does_not_train(empty_store, tiny, monkeypatch):
    training = tiny.training("st")
    store.make(training, tiny.evaluation)
    monkeypatch.setattr(store, "train", None)
    other = replace(tiny.evaluation, attack=tiny.evaluation.attack.at_radius(4))
    assert store.make(training, other).evaluation.attack.eps == 4


def test_a_better_measure_is_made_again_and_nothing_else(empty_store, tiny, monkeypatch):
    training, made = tiny.training("st"), []
    before = store.make(training, tiny.evaluation)
    better = replace(
        MEASUREMENTS["test"], version=2, function=lambda subject, part: {"clean": 2.0, "pgd": 1.0}
    )
    monkeypatch.setitem(MEASUREMENTS, "test", better)
    monkeypatch.setattr(store, "train", None)
    measure = store._measure
    monkeypatch.setattr(
        store, "_measure", lambda m, *rest: made.append(m.name) or measure(m, *rest)
    )
    after = store.make(training, tiny.evaluation)
    assert made == ["test"]
    assert after.test("clean") == 2
    assert values(after) == values(before) | {"test": {"clean": 2.0, "pgd": 1.0}}


def test_what_is_measured_beside_the_standard_is_named(tiny):
    with pytest.raises(ParameterError, match="extra must be some of .*stronger.*; got 'strong'"):
        store.find(tiny.training("st"), tiny.evaluation, ["strong"])


def test_measured_on_a_part_of_the_points_all_stand_beside_it(empty_store, tiny):
    some = replace(tiny.evaluation, per_class=5)
    record = store.make(tiny.training("st"), some)
    assert set(store.wanted(some)) - set(store.wanted(tiny.evaluation)) == {"whole"}
    assert record["whole"]["clean"]["loss"] != record.end("clean", "loss")


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
def test_damaged_weights_are_noticed_said_and_repaired(empty_store, tiny, damage):
    training = tiny.training("st")
    before = store.train_only(training)
    path = store._weights(training, 1)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match=r"epoch-0001.safetensors is damaged .* again"):
        after = store.train_only(training)
    for epoch, state in before.items():
        assert all(torch.equal(tensor, after[epoch][name]) for name, tensor in state.items())
    store.train_only(training)  # and no warning any more


@pytest.mark.parametrize("damage", [truncate, alter])
def test_a_damaged_checkpoint_is_noticed_said_and_repaired(empty_store, tiny, damage):
    training = tiny.training("st")
    before = store.train_only(training)
    (store.home(training) / "training.json").unlink()  # as if it had not come to its end
    path = store.home(training) / "checkpoint.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match="checkpoint.* is damaged .* again from the start"):
        after = store.train_only(training)
    assert digest(after[3]) == digest(before[3])


def test_a_lost_snapshot_is_noticed(empty_store, tiny):
    training = tiny.training("st")
    store.train_only(training)
    store._weights(training, 2).unlink()
    with pytest.warns(UserWarning, match="epoch-0002"):
        assert len(store.train_only(training)) == len(training.snapshots())


def test_the_last_weights_are_enough_for_what_needs_no_others(empty_store, tiny, monkeypatch):
    training = tiny.training("st")
    store.make(training, tiny.evaluation)
    store._weights(training, 1).unlink()
    monkeypatch.setattr(store, "train", None)
    other = replace(tiny.evaluation, attack=tiny.evaluation.attack.at_radius(4))
    assert store.make(training, tiny.evaluation, ["stronger"])["stronger"]
    with (
        pytest.warns(UserWarning, match="epoch-0001"),  # along training they are all needed
        pytest.raises(TypeError),
    ):
        store.make(training, other)


def test_a_damaged_measurement_is_made_again(empty_store, tiny):
    training = tiny.training("st")
    first = store.make(training, tiny.evaluation)
    path = store._path(training, tiny.evaluation, MEASUREMENTS["trajectory"])
    path.write_text(path.read_text()[:100])
    with pytest.warns(UserWarning, match="not valid JSON"):
        again = store.make(training, tiny.evaluation)
    assert values(again) == values(first)


# Folders and space --------------------------------------------------------------------------


def test_an_unwritable_store_is_an_error_before_training(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "train", None)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RNC_STORE", str(tmp_path / "file" / "store"))
    with pytest.raises(
        StoreError, match=r"file/store/.* cannot be written \(Not a directory\); set RNC_STORE"
    ):
        store.make(tiny.training("st"), tiny.evaluation)


def test_a_disk_without_space_is_an_error_before_training(empty_store, tiny, monkeypatch):
    monkeypatch.setattr(store, "train", None)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: SimpleNamespace(free=100_000))
    with pytest.raises(StoreError, match=r"ST, seed 0 needs \d+ MB in .*store, and 0 MB are free"):
        store.make(replace(tiny.training("st"), width=16), tiny.evaluation)


def test_the_space_that_is_asked_for_is_what_a_run_takes(empty_store, tiny, monkeypatch):
    training = replace(tiny.training("st"), width=8, epochs=12)
    asked = []
    monkeypatch.setattr(
        store.shutil, "disk_usage", lambda path: asked.append(path) or SimpleNamespace(free=1e12)
    )
    store.train_only(training)
    files = list(store.home(training).glob("*.safetensors"))
    taken = sum(path.stat().st_size for path in files)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: SimpleNamespace(free=taken))
    images = data.load("digits", per_class=20)
    with pytest.raises(StoreError):  # a checkpoint is written beside the one before it
        store._check_space(training, images, 0)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: SimpleNamespace(free=1.4 * taken))
    store._check_space(training, images, 0)
    assert asked


def test_a_disk_that_fills_up_leaves_the_last_checkpoint(empty_store, tiny, monkeypatch):
    training = replace(tiny.training("st"), epochs=4)
    monkeypatch.setattr(store, "train", functools.partial(train, checkpoint_seconds=0))
    replaced, full = os.replace, []

    def until_full(source, target):
        if target.name == "checkpoint.safetensors" and len(full) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        full.extend([target] * (target.name == "checkpoint.safetensors"))
        replaced(source, target)

    monkeypatch.setattr(os, "replace", until_full)
    with pytest.raises(StoreError, match="No space left on device"):
        store.make(training, tiny.evaluation)
    assert not list(empty_store.rglob("*.part"))
    assert read_tensors(store.home(training) / "checkpoint.safetensors")[1]["epoch"] == 2
    monkeypatch.setattr(os, "replace", replaced)
    whole = train(training, data.load("digits", per_class=20))
    assert digest(store.train_only(training)[4]) == digest(whole.model)


def test_nothing_half_written_is_left(empty_store, tiny):
    training = tiny.training("st")
    store.make(training, tiny.evaluation)
    assert not list(empty_store.rglob("*.part"))
    files = list(store.home(training).rglob("*.json"))
    assert len(files) == 1 + len(store.wanted(tiny.evaluation))
    for path in files:
        json.loads(path.read_text(), parse_constant=pytest.fail)  # strict JSON: no NaN


def test_the_store_is_the_checkouts_unless_named(monkeypatch, tmp_path):
    monkeypatch.delenv("RNC_STORE", raising=False)
    assert folders.store() == folders.CHECKOUT / "runs"
    monkeypatch.setenv("RNC_STORE", str(tmp_path / "elsewhere"))
    assert folders.store() == tmp_path / "elsewhere"
    monkeypatch.delenv("RNC_STORE")
    monkeypatch.setattr(folders, "CHECKOUT", tmp_path)  # installed, without a checkout
    assert "rnc" in folders.store().parts


# Divergence ---------------------------------------------------------------------------------


def test_divergence_keeps_the_last_good_checkpoint_and_leaves_no_record(
    empty_store, tiny, monkeypatch
):
    training = replace(tiny.training("st"), epochs=4)
    monkeypatch.setattr(store, "train", functools.partial(train, checkpoint_seconds=0))
    calls, objective = [], methods.Method.objective

    def poisoned(*arguments):
        loss, logits = objective(*arguments)
        calls.append(loss)
        return (loss * float("nan"), logits) if len(calls) == 6 else (loss, logits)

    monkeypatch.setattr(methods.Method, "objective", poisoned)
    with pytest.raises(Diverged, match="ST diverged in epoch 3: loss nan"):
        store.make(training, tiny.evaluation)
    tensors, notes = read_tensors(store.home(training) / "checkpoint.safetensors")
    assert notes["epoch"] == 2
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert not list(empty_store.rglob("*.json"))


def test_weights_that_are_not_finite_are_no_checkpoint(tiny, monkeypatch):
    """The last update of an epoch can spoil weights that its losses do not show."""
    training, kept = tiny.training("st"), []

    def spoil(training, model, *arguments):
        model.classifier.weight.data[0, 0] = float("inf")
        return {"loss": 1.0, "accuracy": 1.0}

    monkeypatch.setattr(training_module, "_epoch", spoil)
    with pytest.raises(Diverged, match="epoch 1: a weight is not finite; loss 1.0"):
        train(training, data.load("digits"), on_snapshot=kept.append)
    assert [snapshot.epoch for snapshot in kept] == [0]


# Published, and of one network --------------------------------------------------------------


def test_a_published_record_is_found_without_the_store(empty_store, tiny, monkeypatch):
    training = tiny.training("st")
    first = store.make(training, tiny.evaluation)
    assert store.published() == []
    store.publish(training, tiny.evaluation)
    stronger = store.make(training, tiny.evaluation, ["stronger"])
    store.publish(training, tiny.evaluation)
    shutil.rmtree(empty_store)
    monkeypatch.setattr(store, "train", None)
    assert values(store.make(training, tiny.evaluation)).items() >= values(first).items()
    assert store.make(training, tiny.evaluation, ["stronger"]) == stronger
    assert store.published() == [stronger]
    assert store.estimate(training, tiny.evaluation, "cpu", ["stronger"]) == 0


@pytest.fixture
def of_another_processor(empty_store, tiny, monkeypatch):
    """A record of ST is published, and its store is lost; training ends elsewhere from now on."""
    training = tiny.training("st")
    store.make(training, tiny.evaluation)
    store.publish(training, tiny.evaluation)
    shutil.rmtree(empty_store)
    epoch, begun = training_module._epoch, []

    def elsewhere(training, model, optimiser, x, y, number):
        begun.append(number)
        return epoch(training, model, optimiser, (x - 0.05).clamp(0, 1), y, number)

    monkeypatch.setattr(training_module, "_epoch", elsewhere)
    monkeypatch.setattr(store, "train", functools.partial(train, checkpoint_seconds=0))
    return training, begun


def test_results_of_two_networks_never_stand_side_by_side(of_another_processor, tiny):
    """It is said as soon as the training shows it, and not after hours of attacks."""
    training, begun = of_another_processor
    with pytest.raises(Mismatch, match=r"ST, seed 0 .* another processor made.* RNC_RECORDS"):
        store.make(training, tiny.evaluation, ["stronger"])
    assert begun == [0]
    assert store.find(training, tiny.evaluation) is not None  # the published one


def test_another_network_is_measured_where_nothing_stands_beside_it(
    of_another_processor, tiny, tmp_path, monkeypatch
):
    training, _ = of_another_processor
    other = replace(tiny.evaluation, attack=tiny.evaluation.attack.at_radius(4))
    made = store.make(training, other)
    published = store.find(training, tiny.evaluation)
    assert made.trained["network"] != published.trained["network"]
    # what it says is the way out
    with pytest.raises(Mismatch):
        store.make(training, tiny.evaluation, ["stronger"])
    monkeypatch.setenv("RNC_RECORDS", str(tmp_path / "empty"))
    anew = store.make(training, tiny.evaluation, ["stronger"])
    assert anew.trained["network"] == made.trained["network"]
    # from then on the store's own network is the one that is shown, and the other stays as it is
    monkeypatch.setenv("RNC_RECORDS", str(tmp_path / "records"))
    assert store.find(training, tiny.evaluation) == anew
    before = {p: p.read_bytes() for p in (tmp_path / "records").rglob("*.json")}
    with pytest.raises(Mismatch):
        store.publish(training, tiny.evaluation)
    assert {p: p.read_bytes() for p in (tmp_path / "records").rglob("*.json")} == before


def test_a_record_without_a_digest_of_weights_is_compared_by_its_history(
    empty_store, tiny, no_published_records, monkeypatch
):
    """Older records have none; on the processor that made them a training can go beside them."""
    training = tiny.training("st")
    store.make(training, tiny.evaluation)
    store.publish(training, tiny.evaluation)
    shutil.rmtree(empty_store)
    for path in no_published_records.rglob("*.json"):
        text = json.loads(path.read_text())
        text["network"] |= {"data": None, "weights": None}
        path.write_text(json.dumps(text))
    assert store.make(training, tiny.evaluation, ["stronger"])["stronger"]


def test_weights_of_other_images_are_not_measured(tmp_path, empty_store, tiny):
    for part in ("train", "test"):
        write_images(tmp_path / "p" / part, {"a": 4, "b": 4}, size=(16, 16))
    study = Study.of(width=2, epochs=1, steps=1, dataset=f"imagefolder:{tmp_path / 'p'}")
    training = study.training("st")
    store.train_only(training)
    shutil.rmtree(tmp_path / "p" / "train" / "a")
    write_images(tmp_path / "p" / "train", {"a": 4}, size=(16, 16), seed=1)
    data._load.cache_clear()
    with pytest.raises(Mismatch, match="was trained on other images than imagefolder:.* has now"):
        store.make(training, study.evaluation)


def test_every_published_record_is_found_by_its_settings(monkeypatch):
    monkeypatch.delenv("RNC_RECORDS")
    monkeypatch.setenv("RNC_STORE", "/nowhere")
    records = store.published()
    homes = {store.home(r.training, folders.published()) for r in records}
    assert homes == {p.parent for p in folders.published().glob("v1/*/training.json")}
    for record in records:
        assert set(store.wanted(record.evaluation)) <= set(record.measured)


def test_what_would_take_hours_is_not_begun_unasked(empty_store):
    study = Study.of("paper", device="cpu")
    with pytest.raises(
        TooLong, match=r"no record of AT, seed 1 on cifar10.* \d+ days on this CPU: use a GPU"
    ):
        store.make(study.training("at"), study.evaluation)
    with pytest.raises(TooLong, match="no record with stronger of AT.* run --long"):
        store.make(study.training("at"), study.evaluation, ["stronger"])
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


def test_the_standard_measurements_are_the_ones_that_records_have():
    names = [name for name, m in MEASUREMENTS.items() if m.standard]
    assert names == ["trajectory", "leaping", "sweep", "layers", "test"]
    assert MEASUREMENTS["trajectory"].snapshots
    assert MEASUREMENTS["trajectory"].function is standard.trajectory
