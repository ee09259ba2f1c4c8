"""The store: finds what is known of a network, or else trains, measures and keeps it, once.

    <store>/v1/<training>/training.json               settings, history, digests, environment
    <store>/v1/<training>/epoch-0042.safetensors      weights after 42 epochs
    <store>/v1/<training>/checkpoint.safetensors      where a training is, or its end
    <store>/v1/<training>/<evaluation>/sweep.1.json   version 1 of a measurement, or its parts

A lock lets one process at a time work on a network. Records can be published: copied to a folder
that is committed with the book, where whoever asks for the same settings finds them. Every file
names its network by digests of data, history and weights, so that results of two networks of the
same settings, as two processors make them, never stand side by side.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from rnc.errors import ParameterError, UserError, check_one_of
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


@dataclass(frozen=True)
class Request:
    """A record that is wanted.

    Attributes:
        training: which network.
        evaluation: how it is measured.
        extra: names of measurements beside those of every record, such as "stronger".
    """

    training: Training
    evaluation: Evaluation
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.extra:
            check_one_of("extra", name, MEASUREMENTS)

    @property
    def measurements(self) -> list[Measurement]:
        """All that the record shall hold."""
        return [
            m for m in MEASUREMENTS.values() if m.when(self.evaluation) or m.name in self.extra
        ]

    def path(self, m: Measurement, root: Path | None = None) -> Path:
        """Of a measurement's file, in the store or under another root."""
        place = home(self.training, root) / self.evaluation.slug
        return place / f"{m.name}.{m.version}.json"


def home(training: Training, root: Path | None = None) -> Path:
    """Where a network and its measurements are, in the store or under another root."""
    return (root or folders.store()) / f"v{VERSION}" / training.slug


# Finding ------------------------------------------------------------------------------------


def find(request: Request, *roots: Path) -> Record | None:
    """A record with all that is wanted, if it is there already; None where there is none.

    A published one of a network that the store lacks may be without measurements that came later.

    Args:
        request: what is wanted.
        roots: where to look; none given: in the store, and among the published ones.
    """
    wanted = request.measurements
    if not roots and not (home(request.training) / "training.json").exists():
        wanted = [m for m in wanted if not m.later or m.name in request.extra]
    roots = roots or _roots()
    # then each alone: a network in the store that is not yet measured does not hide another
    # that is published
    for some in (roots, *((root,) for root in roots)):
        record = _known(request, *some)
        if all(m.name in record.measured for m in wanted):
            return record
    return None


def published_records() -> list[Record]:
    """What is committed with the book; a record may lack measurements that came later."""
    found = []
    for file in sorted(folders.published().glob(f"v{VERSION}/*/training.json")):
        try:
            training = Training.from_json(read_json(file)["settings"])
        except (KeyError, TypeError, ParameterError) as error:
            warnings.warn(f"{file.parent} cannot be read ({error!r})", stacklevel=2)
            continue
        for place in sorted({path.parent for path in file.parent.glob("*/*.json")}):
            known = (read_json(path) for path in sorted(place.glob("*.json")))
            try:
                evaluation = next(content["evaluation"] for content in known if content)
                request = Request(training, Evaluation.from_json(evaluation))
            except (KeyError, TypeError, StopIteration, ParameterError) as error:
                warnings.warn(f"{place} cannot be read ({error!r})", stacklevel=2)
            else:
                found.append(_known(request, folders.published()))
    return found


def _roots() -> tuple[Path, Path]:
    return folders.store(), folders.published()


def _known(request: Request, *roots: Path) -> Record:
    """Of one network what is known of its training, and its whole measurements.

    It is that of the first root which has measured one so.
    """
    trained: dict = {}
    measured: dict[str, dict] = {}
    for root in roots:
        there = read_json(home(request.training, root) / "training.json")
        if there is None or (measured and _differ(there, trained)):
            continue
        if files := _measured(request, there, root):
            trained = trained or there
            # of those of the first root too, of which older files may know less
            files = {name: file for name, file in files.items() if not _differ(file, trained)}
            measured = files | measured
    return Record(request.training, request.evaluation, trained, measured)


def _measured(request: Request, network: dict, root: Path) -> dict[str, dict]:
    """The whole measurements of a network under a root, by name."""
    files = {m.name: read_json(request.path(m, root)) for m in MEASUREMENTS.values()}
    return {
        name: file
        for name, file in files.items()
        if file and "values" in file and not _differ(file, network)
    }


def _differ(a: dict, b: dict) -> bool:
    """Whether two files are of two networks, as far as both know."""
    a, b = a["network"], b["network"]
    return any(a[name] != b[name] for name in a if a[name] and b[name])


def keep(name: str, version: int, settings: dict, compute: Callable[[], dict]) -> dict:
    """What a computation of some settings gives, as `plain` numbers: found in the store or among
    the published ones, or else computed once, on one thread of a CPU, and kept.

    Args:
        name: of the computation, and of its folder.
        version: raise it when it gives something else; older results are not read then.
        settings: JSON; all that its result depends on.
        compute: gives its values.
    """
    if (values := find_kept(name, version, settings)) is not None:
        return values
    path = folders.store() / _kept(name, version, settings)
    # a folder of its own, so that computations of one name wait for each other only if they are
    # the same one
    with _locked(path.with_suffix("")):
        if (found := read_json(path)) is None:
            began, cpu = time.monotonic(), torch.device("cpu")
            with reproducible(cpu):
                values = plain(compute())
            where = environment(cpu) | {"seconds": round(time.monotonic() - began, 1)}
            head = {"computation": name, "version": version, "settings": settings}
            found = head | {"environment": where, "values": values}
            write_json(path, found)
    return found["values"]


def keep_tensors(
    name: str, version: int, settings: dict, compute: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """The same of tensors by name, such as weights: they stay in this machine's store."""
    path = (folders.store() / _kept(name, version, settings)).with_suffix(".safetensors")
    with _locked(path.with_suffix("")):
        try:
            return read_tensors(path)[0]
        except (FileNotFoundError, Damaged):
            with reproducible(torch.device("cpu")):
                tensors = compute()
            write_tensors(path, tensors, {"computation": name, "settings": settings})
            return tensors


def find_kept(name: str, version: int, settings: dict) -> dict | None:
    """What `keep` has of some settings, in the store or among the published records."""
    for root in _roots():
        if found := read_json(root / _kept(name, version, settings)):
            return found["values"]
    return None


def publish_kept(name: str, version: int, settings: dict) -> None:
    """Copies what `keep` has of some settings to the published records, if it is not there."""
    file = _kept(name, version, settings)
    if not (folders.published() / file).exists():
        write(folders.published() / file, (folders.store() / file).read_bytes())


def _kept(name: str, version: int, settings: dict) -> Path:
    """The file of a computation, under a root."""
    text = json.dumps(settings, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    return Path(f"v{VERSION}") / name / f"{digest}.{version}.json"


# Making -------------------------------------------------------------------------------------


def make(
    request: Request,
    device: str = "cpu",
    *,
    long: bool = False,
    wait: bool = True,
    publish: bool = False,
) -> Record:
    """A record: found, or else trained and measured, with progress shown.

    Args:
        request: what is wanted.
        device: where to compute what is missing.
        long: compute it on a CPU too if that takes more than three hours.
        wait: for another process that works on the network.
        publish: find it among the published ones, or put it there.

    Raises:
        TooLong: it is not recorded, would take many hours, and `long` is not set.
        DataError, StoreError: before anything is computed.
        Mismatch: what it would stand beside is of another network of the same settings.
        Diverged: the training's loss or weights are no longer finite.
        OutOfTime: the budget is over (see `rnc.progress.until`); the same call goes on.
        Busy: another process works on it, and `wait` is not set.
    """
    roots = [folders.published()] if publish else []
    if (record := find(request, *roots)) is not None:
        return record
    if not long:
        check_length(request, device)
    with _locked(home(request.training), wait):
        try:
            _make(request, device, publish)
        except Damaged as error:  # of weights
            if not long:
                check_length(request, device, trains=True)
            warnings.warn(f"{error}; training {request.training.slug} again", stacklevel=2)
            for name in ("training.json", "checkpoint.safetensors"):
                (home(request.training) / name).unlink(missing_ok=True)
            _make(request, device, publish)
    record = find(request, *roots)
    assert record is not None, "what was made is not found"
    return record


def trained(training: Training, images: data.Images) -> dict[str, Tensor]:
    """The last state of a network: found in the store, or else trained and kept there.

    Args:
        images: what it is trained on.
    """
    with _locked(home(training)):
        if read_json(home(training) / "training.json") is None:
            _train(training, images, None)
        return read_tensors(_snapshot(training, training.epochs))[0]


def estimate(request: Request, device: str, trains: bool | None = None) -> float:
    """About how many seconds it takes to make what is missing of a record.

    Args:
        request, device: what, and where.
        trains: whether the network has to be trained; None: if it is not in the store.
    """
    measured = _known(request, *_roots()).measured
    missing = [m for m in request.measurements if m.name not in measured]
    if trains is None:
        trains = not (home(request.training) / "training.json").exists()
    seconds = cost.seconds(request.training, request.evaluation, device, missing, trains)
    return seconds if missing else 0


def check_length(request: Request, device: str, trains: bool | None = None) -> float:
    """The estimate.

    Raises:
        TooLong: it is many hours, on a CPU.
    """
    seconds = estimate(request, device, trains)
    if device == "cpu" and seconds > LONG:
        raise TooLong(
            f"there is no record{''.join(f' with {name}' for name in request.extra)} of "
            f"{request.training} on {request.training.dataset}, and making it would take about "
            f"{cost.spoken(seconds)} on this CPU: use a GPU (device cuda), shorten it (epochs, "
            f"per_class, width), or start it all the same with python -m rnc run --long"
            + (f" --extra {' '.join(request.extra)}" if request.extra else "")
        )
    return seconds


def _make(request: Request, device: str, publish: bool) -> None:
    """Makes what is missing, under the lock of the network."""
    training, own = request.training, read_json(home(request.training) / "training.json")
    if own is None or find(request) is None:
        images = data.load(training.dataset, device, training.per_class)
        theirs = _beside(request, own, publish)
        if own:
            _check_images(training, own["network"]["data"], images)
        own = own or _train(training, images, theirs)
        if theirs and _differ(own, theirs):
            raise Mismatch(_two_networks(training))
        measured = _known(request, *_roots()).measured

        def weights(epoch: int) -> dict[str, Tensor]:
            try:
                state = read_tensors(_snapshot(training, epoch))[0]
            except FileNotFoundError as error:
                raise Damaged(str(error)) from error
            expected = own["network"]["weights"]
            if epoch == training.epochs and expected and digest(state) != expected:
                raise Damaged(f"{_snapshot(training, epoch)} is of another network")
            return state

        last = functools.partial(trained, images=images)
        subject = Subject(training, request.evaluation, images, weights, trained=last)
        for m in request.measurements:
            if m.name not in measured:
                _measure(m, subject, request, own["network"])
    if publish:
        _publish(request, own)


def _beside(request: Request, own: dict | None, publish: bool) -> dict | None:
    """What is known of the published network that results shall stand beside, if there is one.

    There is none for a network of the store that has been measured so by itself: it is the one
    that is shown.
    """
    theirs = read_json(home(request.training, folders.published()) / "training.json")
    if publish or theirs is None:
        return theirs
    alone = own and _measured(request, own, folders.store())
    return None if alone else theirs if _measured(request, theirs, folders.published()) else None


def _train(training: Training, images: data.Images, theirs: dict | None) -> dict:
    """What is known of a training after its end.

    Args:
        theirs: what is known of the network that its results shall stand beside, if there is one.
    """
    start, place = _resumable(training, images), home(training)

    def check(history: list[dict]) -> None:
        """Another network is one from its first epochs on: say so then, not at the end."""
        if theirs and history:
            so_far = plain(columns(history))["loss"]
            if so_far != theirs["history"]["loss"][: len(so_far)]:
                raise Mismatch(_two_networks(training))

    if theirs:
        _check_images(training, theirs["network"]["data"], images, "is published of")
    if start is not None:
        check(start.history)
        print(f"resuming {training.slug} after epoch {start.epoch}", file=sys.stderr)
    _check_space(training, images, start)

    def on_snapshot(snapshot: Checkpoint) -> None:
        write_tensors(_snapshot(training, snapshot.epoch), snapshot.model, {})

    def on_checkpoint(checkpoint: Checkpoint) -> None:
        tensors = {f"model.{name}": t for name, t in checkpoint.model.items()}
        tensors |= {f"momentum.{i:04d}": t for i, t in enumerate(checkpoint.momentum)}
        notes = {name: getattr(checkpoint, name) for name in ("epoch", "history", "seconds")}
        write_tensors(place / "checkpoint.safetensors", tensors, notes | {"data": images.digest})
        check(checkpoint.history)

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
        "environment": environment(images.y.device)
        | ({"step": end.step} if end.step else {})
        | {"seconds": round(end.seconds, 1)},
        "history": history,
    }
    write_json(place / "training.json", own)
    return own


def _resumable(training: Training, images: data.Images) -> Checkpoint | None:
    """The last checkpoint, if it and all snapshots before it are whole."""
    place = home(training) / "checkpoint.safetensors"
    if not place.exists():
        return None
    try:
        tensors, notes = read_tensors(place)
        for epoch in training.snapshots():
            if epoch <= notes["epoch"]:
                read_tensors(_snapshot(training, epoch))
    except (Damaged, FileNotFoundError) as error:
        warnings.warn(f"{error}; training {training.slug} again from the start", stacklevel=2)
        return None
    _check_images(training, notes.pop("data"), images)
    model, momentum = (
        {n.removeprefix(kind): t for n, t in sorted(tensors.items()) if n.startswith(kind)}
        for kind in ("model.", "momentum.")
    )
    return Checkpoint(model=model, momentum=list(momentum.values()), **notes)


def _measure(m: Measurement, subject: Subject, request: Request, network: dict) -> None:
    if seconds_left() <= 0:
        raise OutOfTime(f"time is over: {request.training.slug} before {m.name}")
    path, began = request.path(m), time.monotonic()
    head = {
        "measurement": m.name,
        "version": m.version,
        "evaluation": as_json(request.evaluation),
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


def _publish(request: Request, own: dict) -> None:
    """Copies what the store has of a network to the published records."""
    theirs = read_json(home(request.training, folders.published()) / "training.json")
    files = (read_json(request.path(m, folders.published())) for m in MEASUREMENTS.values())
    if any(_differ(own, known) for known in (theirs, *files) if known):
        raise Mismatch(_two_networks(request.training))
    there = _measured(request, own, folders.published())
    files = [request.path(MEASUREMENTS[n]) for n in _measured(request, own, folders.store())]
    files = [path for path in files if path.name.split(".")[0] not in there]
    for path in [home(request.training) / "training.json"] * (theirs is None) + files:
        write(folders.published() / path.relative_to(folders.store()), path.read_bytes())


def _snapshot(training: Training, epoch: int) -> Path:
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
        for left in place.rglob("*.part"):  # by a process that was killed while it wrote
            left.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def _check_images(
    training: Training, known: str | None, images: data.Images, how: str = "was trained on"
) -> None:
    if known not in (None, images.digest):
        raise Mismatch(
            f"{training} {how} other images than {training.dataset} has now, or the same in "
            f"another order; point RNC_DATA at those, or remove {home(training)} and set "
            f"RNC_RECORDS to an empty folder to make everything anew"
        )


def _two_networks(training: Training) -> str:
    return (
        f"there are records of {training} ({training.slug}) that another processor made, and the "
        f"network that this one trains is another one: its results cannot stand beside them; set "
        f"RNC_RECORDS to an empty folder to make all of them here"
    )


def _check_space(training: Training, images: data.Images, start: Checkpoint | None) -> None:
    """Refuses a training whose snapshots and checkpoints would not fit on the disk."""
    size = sum(t.numel() * t.element_size() for t in build(training, images).state_dict().values())
    to_come = [epoch for epoch in training.snapshots() if start is None or epoch > start.epoch]
    # a checkpoint holds the momentum too, and is written beside the one that it replaces
    needed = size * (len(to_come) + 4)
    free = shutil.disk_usage(home(training)).free
    if free < needed:
        raise StoreError(
            f"{training} needs {needed / 1e6:.0f} MB in {folders.store()}, and "
            f"{free / 1e6:.0f} MB are free; set RNC_STORE to a folder with enough space"
        )
