"""The store: killed, raced, damaged and full, it still gives the same runs."""

import errno
import functools
import json
import os
import pickletools
import select
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from rnc import data, runs
from rnc import training as training_module
from rnc.config import Study
from rnc.runs import StoreError, TooLong
from rnc.training import Diverged, OutOfTime, train

# A training in a process of its own, with a checkpoint after every epoch. It begins when a
# file is there, if one is named.
WORKER = """
import functools, pathlib, sys, time
from rnc import runs
from rnc.config import Study
method, bn, epochs, gate = sys.argv[1], sys.argv[2] or None, int(sys.argv[3]), sys.argv[4]
train = runs.train
def gated(*arguments, **named):
    while gate and not pathlib.Path(gate).exists():
        time.sleep(0.01)
    return train(*arguments, **named, checkpoint_seconds=0)
runs.train = gated
study = Study.of(width=2, epochs=epochs, steps=2)
runs.weights(study.training(method, bn))
print("trained", flush=True)
"""


def worker(method, bn, epochs, gate=""):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, method, bn, str(epochs), str(gate)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("method", "bn"), [("at", ""), ("trades", "frozen")])
def test_killed_at_several_moments_it_ends_as_if_it_had_not_been(empty_store, tiny, method, bn):
    epochs = 16
    training = replace(tiny.training(method, bn or None), epochs=epochs)
    folder = runs.folder(training)
    # as soon as the store shows that a training is under way; a moment later; later still
    for marker, delay in (
        ("epoch-0000.npz", 0),
        ("checkpoint.npz", 0.05),
        ("epoch-0004.npz", 0.1),
    ):
        process = worker(method, bn, epochs)
        while not (folder / marker).exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.002)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it must not have ended by itself"
        process.stdout.close()
        process.stderr.close()
    output, errors = worker(method, bn, epochs).communicate()
    assert output == "trained\n"
    assert "resuming" in errors

    end = train(training, data.load("digits"))
    stored = runs._load(folder / "checkpoint.npz")
    assert stored.history == end.history
    assert all(torch.equal(t, end.model[n]) for n, t in stored.model.items())
    assert all(torch.equal(a, b) for a, b in zip(stored.momentum, end.momentum, strict=True))


def test_two_processes_train_once(empty_store, tmp_path):
    gate = tmp_path / "gate"
    processes = [worker("at", "", 3, gate) for _ in range(2)]
    # the first to come holds the lock and waits at the gate; the other one says that it waits
    streams, _, _ = select.select([p.stderr for p in processes], [], [], 60)
    (stream,) = streams
    assert "another process works on digits-vgg11w2-at" in stream.readline()
    gate.touch()
    assert [p.communicate()[0] for p in processes] == ["trained\n"] * 2
    (run,) = (empty_store / "v1").iterdir()
    modified = (run / "epoch-0001.npz").stat().st_mtime_ns
    runs.weights(Study.of(width=2, epochs=3, steps=2).training("at"))
    assert (run / "epoch-0001.npz").stat().st_mtime_ns == modified


@pytest.mark.parametrize("method", ["st", "at"])
def test_the_quick_preset_is_bitwise_the_same_in_another_process(method, monkeypatch, tmp_path):
    """Against the checkout's own record, which make test computed before."""
    study = Study.of()
    here = runs.record(study.training(method), study.attack)
    monkeypatch.setenv("RNC_STORE", str(tmp_path))
    again = runs.record(study.training(method), study.attack)
    for where in (here, again):  # deviations are words, which an older record has from older code
        del where["environment"], where["measuring_seconds"], where["deviations"]
    assert again == here


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
    while not list(empty_store.rglob("epoch-0001.npz")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    stop(process.pid)
    _, errors = process.communicate(timeout=60)  # waits for the workers, who hold the pipe
    assert process.returncode == code
    assert ("the same command goes on from the last checkpoints" in errors) == (code == 1)
    files = {path: path.stat().st_mtime_ns for path in empty_store.rglob("*")}
    time.sleep(2)  # several epochs of a worker that had been left
    assert {path: path.stat().st_mtime_ns for path in empty_store.rglob("*")} == files


def test_a_record_is_computed_once(empty_store, tiny, monkeypatch):
    training = tiny.training("st")
    first = runs.record(training, tiny.attack)
    monkeypatch.setattr(runs, "train", None)  # neither trained again
    monkeypatch.setattr(runs.experiments, "measure_run", None)  # nor measured
    assert runs.record(training, tiny.attack) == first
    assert first["settings"]["attack"]["eps"] == 8
    assert {"device", "torch", "commit", "training_seconds"} <= set(first["environment"])


def test_another_attack_measures_but_does_not_train(empty_store, tiny, monkeypatch):
    training = tiny.training("st")
    runs.record(training, tiny.attack)
    monkeypatch.setattr(runs, "train", None)
    assert runs.record(training, tiny.attack.at_radius(4))["settings"]["attack"]["eps"] == 4


def truncate(content):
    return content[: len(content) // 2]


def empty(content):
    return b""


def alter(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [truncate, empty, alter])
@pytest.mark.parametrize("name", ["checkpoint.npz", "epoch-0001.npz"])
def test_damage_is_noticed_said_and_repaired(empty_store, tiny, name, damage):
    training = tiny.training("st")
    before = runs.weights(training)
    path = runs.folder(training) / name
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with pytest.warns(UserWarning, match=rf"{name} is damaged .* again from the start"):
        after = runs.weights(training)
    for a, b in zip(before, after, strict=True):
        assert all(torch.equal(t, b.model[n]) for n, t in a.model.items())
    runs.weights(training)  # and no warning any more


def test_a_lost_snapshot_is_noticed(empty_store, tiny):
    training = tiny.training("st")
    runs.weights(training)
    (runs.folder(training) / "epoch-0002.npz").unlink()
    with pytest.warns(UserWarning, match="epoch-0002"):
        assert len(runs.weights(training)) == len(training.snapshots())


def test_a_damaged_record_is_measured_again(empty_store, tiny):
    training = tiny.training("st")
    first = runs.record(training, tiny.attack)
    (path,) = runs.folder(training).glob("*.json")
    path.write_text(path.read_text()[:100])
    with pytest.warns(UserWarning, match="not valid JSON"):
        again = runs.record(training, tiny.attack)
    assert again["trajectory"] == first["trajectory"]


def test_an_unwritable_store_is_an_error_before_training(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "train", None)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RNC_STORE", str(tmp_path / "file" / "store"))
    with pytest.raises(
        StoreError, match=r"file/store/.* cannot be written \(Not a directory\); set"
    ):
        runs.record(tiny.training("st"), tiny.attack)


def test_a_disk_without_space_is_an_error_before_training(empty_store, tiny, monkeypatch):
    monkeypatch.setattr(runs, "train", None)
    monkeypatch.setattr(runs.shutil, "disk_usage", lambda path: SimpleNamespace(free=100_000))
    with pytest.raises(StoreError, match=r"ST, seed 0 needs \d+ MB in .*store, and 0 MB are free"):
        runs.record(replace(tiny.training("st"), width=16), tiny.attack)


def test_the_space_that_is_asked_for_is_what_a_run_takes(empty_store, tiny, monkeypatch):
    training = replace(tiny.training("st"), width=8, epochs=12)
    asked = []
    monkeypatch.setattr(
        runs.shutil, "disk_usage", lambda path: asked.append(path) or SimpleNamespace(free=1e12)
    )
    runs.weights(training)
    taken = sum(path.stat().st_size for path in runs.folder(training).glob("*.npz"))
    monkeypatch.setattr(runs.shutil, "disk_usage", lambda path: SimpleNamespace(free=taken))
    images = data.load("digits")
    with pytest.raises(StoreError):  # a checkpoint is written beside the one before it
        runs._check_space(runs.folder(training), training, images, 0)
    monkeypatch.setattr(runs.shutil, "disk_usage", lambda path: SimpleNamespace(free=1.4 * taken))
    runs._check_space(runs.folder(training), training, images, 0)
    assert asked


def test_a_disk_that_fills_up_leaves_the_last_checkpoint(empty_store, tiny, monkeypatch):
    training = replace(tiny.training("st"), epochs=4)
    monkeypatch.setattr(runs, "train", functools.partial(train, checkpoint_seconds=0))
    replaced, full = os.replace, []

    def until_full(source, target):
        if target.name == "checkpoint.npz" and len(full) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        full.extend([target] * (target.name == "checkpoint.npz"))
        replaced(source, target)

    monkeypatch.setattr(runs.os, "replace", until_full)
    with pytest.raises(StoreError, match="No space left on device"):
        runs.record(training, tiny.attack)
    assert not list(empty_store.rglob("*.part"))
    assert runs._load(runs.folder(training) / "checkpoint.npz").epoch == 2
    monkeypatch.setattr(runs.os, "replace", replaced)
    whole = train(training, data.load("digits"))
    assert (
        runs.weights(training)[-1].model["conv1.bn.weight"].equal(whole.model["conv1.bn.weight"])
    )


def test_divergence_keeps_the_last_good_checkpoint_and_leaves_no_record(
    empty_store, tiny, monkeypatch
):
    training = replace(tiny.training("st"), epochs=4)
    monkeypatch.setattr(runs, "train", functools.partial(train, checkpoint_seconds=0))
    calls, objective = [], training_module.objective

    def poisoned(*arguments):
        loss, logits = objective(*arguments)
        calls.append(loss)
        return (loss * float("nan"), logits) if len(calls) == 10 else (loss, logits)

    monkeypatch.setattr(training_module, "objective", poisoned)
    with pytest.raises(Diverged, match="ST diverged in epoch 3: loss nan"):
        runs.record(training, tiny.attack)
    kept = runs._load(runs.folder(training) / "checkpoint.npz")
    assert kept.epoch == 2
    assert all(tensor.isfinite().all() for tensor in kept.model.values())
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


def test_a_run_stops_in_time_and_goes_on_elsewhere(
    empty_store, tiny, tmp_path, monkeypatch, capsys
):
    training = replace(tiny.training("at"), epochs=6)
    with pytest.raises(OutOfTime, match="stopped after epoch 1"):
        runs.record(training, tiny.attack, deadline=0)
    shutil.move(empty_store, tmp_path / "another machine")
    monkeypatch.setenv("RNC_STORE", str(tmp_path / "another machine"))
    capsys.readouterr()
    found = runs.record(training, tiny.attack)
    assert "resuming" in capsys.readouterr().err
    assert found["history"]["loss"] == [
        float(f"{epoch['loss']:.6g}") for epoch in train(training, data.load("digits")).history
    ]


def test_rows_that_were_measured_survive(empty_store, tiny, monkeypatch):
    training = tiny.training("st")
    at_epoch, measured = runs.experiments.at_epoch, []

    def stopped(*arguments):
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(arguments)
        return at_epoch(*arguments)

    monkeypatch.setattr(runs.experiments, "at_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        runs.record(training, tiny.attack)
    measured.clear()
    monkeypatch.setattr(
        runs.experiments, "at_epoch", lambda *a: measured.append(a) or at_epoch(*a)
    )
    runs.record(training, tiny.attack)
    assert len(measured) == len(training.snapshots()) - 2
    assert not list(empty_store.rglob("*.rows.json"))


def test_a_kept_record_is_found_without_the_store(empty_store, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("RNC_RECORDS", str(tmp_path / "records"))
    study = replace(tiny, seeds=(0, 1))
    assert runs.found(study) == [{}, {}]
    training = tiny.training("st")
    first = runs.record(training, tiny.attack)
    assert runs.recorded() == {}
    runs.keep(training, tiny.attack)
    (path,) = (tmp_path / "records").rglob("*.json")
    stronger = runs.record_stronger(training, tiny.attack)
    runs.keep(training, tiny.attack)
    shutil.rmtree(empty_store)
    monkeypatch.setattr(runs, "train", None)
    assert runs.record(training, tiny.attack) == first
    assert runs.record_stronger(training, tiny.attack) == stronger
    assert runs.found(study) == [{"ST": first}, {}]
    assert runs.recorded() == {
        "digits; VGG11 of width 2; 3 epochs; PGD-2, ℓ∞ ε = 8/255, α = 2/255; seed 0": [
            {"ST": first}
        ]
    }
    # small, and a list per line, so that two versions can be compared
    lines = path.read_text().splitlines()
    assert any(line.startswith('  "accuracy": [ 0.') and line.endswith("],") for line in lines)
    assert path.stat().st_size < 100_000


def test_many_hours_on_a_cpu_must_be_asked_for(empty_store):
    study = Study.of("paper", device="cpu")
    with pytest.raises(
        TooLong, match=r"no record of AT, seed 1, on cifar10, .* about \d+ days on this CPU: use"
    ):
        runs.record(study.training("at"), study.attack)
    with pytest.raises(TooLong, match="start it all the same with .* run --stronger --long"):
        runs.record_stronger(study.training("at"), study.attack)
    assert not empty_store.exists()


def test_an_unknown_network_is_named(tiny):
    with pytest.raises(ValueError, match="no network 'TRADE'; there are ST, AT, TRADES, TRADES"):
        runs.records(tiny, "TRADE")


def test_files_hold_no_pickle(empty_store, tiny):
    training = tiny.training("st")
    runs.weights(training)
    for path in runs.folder(training).glob("*.npz"):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                assert archive.read(name).startswith(b"\x93NUMPY")
                with pytest.raises(ValueError, match="opcode|pickle"):
                    list(pickletools.genops(archive.read(name)))


def test_nothing_half_written_is_left(empty_store, tiny):
    training = tiny.training("st")
    runs.record(training, tiny.attack)
    assert not list(empty_store.rglob("*.part"))
    (path,) = runs.folder(training).glob("*.json")
    json.loads(path.read_text(), parse_constant=pytest.fail)  # strict JSON: no NaN


def test_the_store_is_the_checkouts_unless_named(monkeypatch, tmp_path):
    monkeypatch.delenv("RNC_STORE", raising=False)
    assert runs.store().name == "runs"
    assert (runs.store().parent / "pyproject.toml").exists()
    monkeypatch.setenv("RNC_STORE", str(tmp_path / "elsewhere"))
    assert runs.store() == tmp_path / "elsewhere"
