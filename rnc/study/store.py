"""The store: finds what is known of a network, or else trains, measures and keeps it, once.

    <store>/v1/<training>/training.json               settings, history, digests, environment
    <store>/v1/<training>/epoch-0042.safetensors      weights after 42 epochs
    <store>/v1/<training>/checkpoint.safetensors      where a training is, or its end
    <store>/v1/<training>/<evaluation>/sweep.1.json   version 1 of a measurement, or its parts

A lock lets one process at a time work on a network. What takes long to make is published: copied
to the folder of records that is committed with the book, where whoever asks for the same settings
finds it. Every file names its network by digests of data, history and weights, so that results of
two networks of the same settings, as two processors make them, never stand side by side.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from torch import Tensor

from rnc.errors import ParameterError, UserError
from rnc.progress import OutOfTime, seconds_left
from rnc.study import cost, data, folders
from rnc.study.files import (
    Damaged,
    StoreError,
    digest,
    read_json,
    read_tensors,
    write,
    write_json,
    write_tensors,
    writing,
)
from rnc.study.measurements import MEASUREMENTS, Measurement, Parts, Subject, columns, plain
from rnc.study.provenance import environment
from rnc.study.record import Record
from rnc.study.settings import Evaluation, Training, as_json
from rnc.study.training import VERSION, Checkpoint, build, reproducible, train

LONG = 3 * 3600  # seconds on a CPU that nobody waits for without having been asked


class TooLong(UserError):
    """A run that would take many hours on a CPU was not asked for in so many words."""


class Mismatch(UserError):
    """Results of the same settings would be of two networks."""


class Busy(Exception):
    """Another process works on the network."""


# Finding ------------------------------------------------------------------------------------


def home(training: Training, root: Path | None = None) -> Path:
    """Where a network and its measurements are, in the store or under another root."""
    return (root or folders.store()) / f"v{VERSION}" / training.slug


def wanted(evaluation: Evaluation, extra: Iterable[str] = ()) -> list[str]:
    """Names of the measurements that a record has, with those asked for beside the standard."""
    if unknown := [name for name in extra if name not in MEASUREMENTS]:
        known = ", ".join(name for name, m in MEASUREMENTS.items() if not m.standard)
        raise ParameterError(f"extra must be some of {known}; got {unknown[0]!r}")
    names = [name for name, m in MEASUREMENTS.items() if m.standard]
    return names + ["whole"] * (evaluation.per_class is not None) + list(extra)


def find(training: Training, evaluation: Evaluation, extra: Iterable[str] = ()) -> Record | None:
    """The record of a network with all that is wanted of it, if it is there already.

    It may have been made on this machine or be one of the book's; None where there is none.
    """
    trained, measured = _gathered(training, evaluation)
    if any(name not in measured for name in wanted(evaluation, extra)):
        return None
    return Record(training, evaluation, trained, measured)


def published() -> list[Record]:
    """The records that are committed with the book."""
    found = []
    for file in sorted(folders.published().glob(f"v{VERSION}/*/training.json")):
        training = Training.from_json(read_json(file)["settings"])
        for place in sorted(place for place in file.parent.iterdir() if place.is_dir()):
            evaluation = read_json(next(place.glob("*.json")))["evaluation"]
            found.append(find(training, Evaluation.from_json(evaluation)))
    return [record for record in found if record is not None]


def _gathered(training: Training, evaluation: Evaluation) -> tuple[dict, dict[str, dict]]:
    """Of one network what is known of its training, and its whole measurements by name.

    It is the store's if that has measured it so, or else the book's.
    """
    trained: dict = {}
    measured: dict[str, dict] = {}
    for root in (folders.store(), folders.published()):
        there = read_json(home(training, root) / "training.json")
        if there is None or (measured and _differ(there, trained)):
            continue
        for m in MEASUREMENTS.values():
            file = read_json(_path(training, evaluation, m, root))
            if file and "values" in file and not _differ(file, there):
                trained = trained or there
                measured.setdefault(m.name, file)
    return trained, measured


def _path(
    training: Training, evaluation: Evaluation, m: Measurement, root: Path | None = None
) -> Path:
    return home(training, root) / evaluation.slug / f"{m.name}.{m.version}.json"


def _differ(a: dict, b: dict) -> bool:
    """Whether two files are of two networks, as far as both know."""
    a, b = a["network"], b["network"]
    return any(a[name] != b[name] for name in a if a[name] and b[name])


# Making -------------------------------------------------------------------------------------


def make(
    training: Training,
    evaluation: Evaluation,
    extra: Iterable[str] = (),
    device: str = "cpu",
    *,
    long: bool = False,
    wait: bool = True,
) -> Record:
    """The record of a network: found, or else trained and measured, with progress shown.

    Args:
        training: which network.
        evaluation: how it is measured.
        extra: names of measurements beside the standard ones, such as "stronger".
        device: where to compute what is missing.
        long: compute it on a CPU too if that takes more than three hours.
        wait: for another process that works on the network.

    Raises:
        TooLong: it is not recorded, would take many hours, and `long` is not set.
        DataError, StoreError: before anything is computed.
        Mismatch: what there is of it is of another network of the same settings.
        Diverged: the training's loss or weights are no longer finite.
        OutOfTime: the budget is over (see `rnc.progress.until`); the same call goes on.
        Busy: another process works on it, and `wait` is not set.
    """
    if (record := find(training, evaluation, extra)) is not None:
        return record
    if not long and device == "cpu":
        check_length(training, evaluation, device, extra)
    with _locked(home(training), wait):
        trained, measured = _gathered(training, evaluation)  # another process may have been faster
        missing = [MEASUREMENTS[n] for n in wanted(evaluation, extra) if n not in measured]
        if missing:
            images = data.load(training.dataset, device, training.per_class)
            along = any(m.snapshots for m in missing)
            own, states = _trained(training, images, along, beside=trained)
            subject = Subject(training, evaluation, images, states.__getitem__)
            for m in missing:
                _measure(m, subject, evaluation, own["network"])
    record = find(training, evaluation, extra)
    assert record is not None, "what was made is not found"
    return record


def estimate(
    training: Training, evaluation: Evaluation, device: str, extra: Iterable[str]
) -> float:
    """About how many seconds it takes to make what is missing of a record."""
    _, measured = _gathered(training, evaluation)
    missing = [MEASUREMENTS[n] for n in wanted(evaluation, extra) if n not in measured]
    trains = not (home(training) / "training.json").exists()
    return cost.seconds(training, evaluation, device, missing, trains) if missing else 0


def check_length(
    training: Training, evaluation: Evaluation, device: str, extra: Iterable[str]
) -> float:
    """The estimate.

    Raises:
        TooLong: it is many hours, on a CPU.
    """
    seconds = estimate(training, evaluation, device, extra)
    if device == "cpu" and seconds > LONG:
        raise TooLong(
            f"there is no record{''.join(f' with {name}' for name in extra)} of {training} on "
            f"{training.dataset}, and making it would take about {cost.spoken(seconds)} on this "
            f"CPU: use a GPU (device cuda), shorten it (epochs, per_class, width), or start it "
            f"all the same with python -m rnc run --long"
        )
    return seconds


def publish(training: Training, evaluation: Evaluation) -> None:
    """Copies what the store has of a record to those of the book.

    Raises:
        Mismatch: the book's are of another network.
    """
    own, there = (
        read_json(home(training, root) / "training.json")
        for root in (folders.store(), folders.published())
    )
    paths = [_path(training, evaluation, m) for m in MEASUREMENTS.values()]
    files = [path for path in paths if "values" in (read_json(path) or {})]
    if files and there and _differ(own, there):
        raise Mismatch(_two_networks(training))
    for path in [home(training) / "training.json", *files] if files else []:
        copy = folders.published() / path.relative_to(folders.store())
        if not copy.exists():
            write(copy, path.read_bytes())


def train_only(training: Training, device: str = "cpu") -> dict[int, dict[str, Tensor]]:
    """Weights by epoch of the snapshots; trained first if they are not in the store."""
    with _locked(home(training)):
        images = data.load(training.dataset, device, training.per_class)
        return _trained(training, images, along=True)[1]


def _trained(
    training: Training, images: data.Images, along: bool, beside: dict | None = None
) -> tuple[dict, dict[int, dict[str, Tensor]]]:
    """What is known of a training, and weights by epoch, under the lock of its folder.

    Args:
        along: whether all snapshots are needed, or only the end.
        beside: what is known of the network that the results shall stand beside, if there is one.
    """
    place = home(training)
    own, states = read_json(place / "training.json"), {}
    if own is not None:
        needed = training.snapshots() if along else [training.epochs]
        try:
            states = {epoch: read_tensors(_weights(training, epoch))[0] for epoch in needed}
        except (Damaged, FileNotFoundError) as error:
            warnings.warn(f"{error}; training {training.slug} again", stacklevel=4)
            own = None
    if own is None:
        own, states = _train(training, images, beside)
    _check_images(training, own["network"]["data"], images)
    if beside and _differ(own, beside):
        raise Mismatch(_two_networks(training))
    return own, states


def _train(
    training: Training, images: data.Images, beside: dict | None
) -> tuple[dict, dict[int, dict[str, Tensor]]]:
    place = home(training) / "checkpoint.safetensors"
    start, states = _resumable(training, images)
    if start is not None:
        print(f"resuming {training.slug} after epoch {start.epoch}", file=sys.stderr)
    _check_space(training, images, len(states))

    def on_snapshot(snapshot: Checkpoint) -> None:
        states[snapshot.epoch] = snapshot.model
        write_tensors(_weights(training, snapshot.epoch), snapshot.model, {})

    def on_checkpoint(checkpoint: Checkpoint) -> None:
        tensors = {f"model.{name}": t for name, t in checkpoint.model.items()}
        tensors |= {f"momentum.{i:04d}": t for i, t in enumerate(checkpoint.momentum)}
        notes = {
            "epoch": checkpoint.epoch,
            "history": checkpoint.history,
            "seconds": checkpoint.seconds,
            "data": images.digest,
        }
        write_tensors(place, tensors, notes)
        if beside:  # another network is one from its first epochs on: say so then, not at the end
            so_far = plain(columns(checkpoint.history))["loss"]
            if so_far != beside["history"]["loss"][: len(so_far)]:
                raise Mismatch(_two_networks(training))

    end = train(training, images, start, on_snapshot, on_checkpoint)
    history = plain(columns(end.history))
    own = {
        "settings": as_json(training),
        "deviations": training.deviations(),
        "classes": list(images.classes),
        "network": {
            "data": images.digest,
            "history": hashlib.sha256(json.dumps(history).encode()).hexdigest()[:16],
            "weights": digest(end.model),
        },
        "environment": environment(images.y.device) | {"seconds": round(end.seconds, 1)},
        "history": history,
    }
    write_json(home(training) / "training.json", own)
    return own, states


def _resumable(
    training: Training, images: data.Images
) -> tuple[Checkpoint | None, dict[int, dict[str, Tensor]]]:
    """The last checkpoint and the weights of the snapshots before it, if all are whole."""
    place = home(training) / "checkpoint.safetensors"
    if not place.exists():
        return None, {}
    try:
        tensors, notes = read_tensors(place)
        done = [epoch for epoch in training.snapshots() if epoch <= notes["epoch"]]
        states = {epoch: read_tensors(_weights(training, epoch))[0] for epoch in done}
    except (Damaged, FileNotFoundError) as error:
        warnings.warn(f"{error}; training {training.slug} again from the start", stacklevel=6)
        return None, {}
    _check_images(training, notes.pop("data"), images)
    model, momentum = (
        {
            name.removeprefix(kind): t
            for name, t in sorted(tensors.items())
            if name.startswith(kind)
        }
        for kind in ("model.", "momentum.")
    )
    return Checkpoint(model=model, momentum=list(momentum.values()), **notes), states


def _measure(m: Measurement, subject: Subject, evaluation: Evaluation, network: dict) -> None:
    path, began = _path(subject.training, evaluation, m), time.monotonic()
    head = {
        "measurement": m.name,
        "version": m.version,
        "evaluation": as_json(evaluation),
        "network": network,
    }
    before = read_json(path) or {}
    if before.get("network") != network:
        before = {}

    def seconds() -> float:
        return round(before.get("seconds", 0) + time.monotonic() - began, 1)

    def save(parts: dict) -> None:
        write_json(path, head | {"seconds": seconds(), "parts": parts})

    with reproducible(subject.y.device):
        values = plain(m.function(subject, Parts(before.get("parts"), save)))
    where = environment(subject.y.device) | {"seconds": seconds()}
    write_json(path, head | {"environment": where, "values": values})


def _weights(training: Training, epoch: int) -> Path:
    return home(training) / f"epoch-{epoch:04d}.safetensors"


@contextmanager
def _locked(place: Path, wait: bool = True) -> Iterator[None]:
    lock = FileLock(place / ".lock")
    try:
        with writing(place):
            place.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise Busy(place.name) from None
        print(f"another process works on {place.name}; waiting for it", file=sys.stderr)
        try:
            lock.acquire(timeout=min(max(seconds_left(), 0), 1e9))
        except Timeout:
            raise OutOfTime(f"time is over: another process works on {place.name}") from None
    try:
        yield
    finally:
        lock.release()


def _check_images(training: Training, known: str | None, images: data.Images) -> None:
    if known not in (None, images.digest):
        raise Mismatch(
            f"{training} was trained on other images than {training.dataset} has now; remove "
            f"{home(training)} to train it anew"
        )


def _two_networks(training: Training) -> str:
    return (
        f"there are records of {training} ({training.slug}) that another processor made, and the "
        f"network that this one trains is another one: its results cannot stand beside them; set "
        f"RNC_RECORDS to an empty folder to make all of them here"
    )


def _check_space(training: Training, images: data.Images, there: int) -> None:
    """Refuses a training whose snapshots and checkpoints would not fit on the disk."""
    size = sum(t.numel() * t.element_size() for t in build(training, images).state_dict().values())
    # a checkpoint holds the momentum too, and is written beside the one that it replaces
    needed = size * (len(training.snapshots()) - there + 4)
    free = shutil.disk_usage(home(training)).free
    if free < needed:
        raise StoreError(
            f"{training} needs {needed / 1e6:.0f} MB in {folders.store()}, and "
            f"{free / 1e6:.0f} MB are free; set RNC_STORE to a folder with enough space"
        )
