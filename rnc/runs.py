"""The store of runs: looks a result up by its settings, else computes it, once and whole.

    <store>/v1/<slug of the training>/checkpoint.npz      where a training is, or its end
    <store>/v1/<slug of the training>/epoch-0042.npz      weights after 42 epochs
    <store>/v1/<slug of the training>/<attack>.rows.json  measurements of some snapshots
    <store>/v1/<slug of the training>/<attack>.json       the record: all of them
    <store>/v1/<slug of the training>/<attack>.stronger.json   what stronger attacks change

The store is the folder `runs` of a checkout, or ~/.cache/rnc of an installed package, or
what the environment variable RNC_STORE names. Weights are NumPy archives without pickled
objects, followed by a SHA-256 digest; measurements are JSON. Files are written beside their
place and moved there, so that a file is there whole or not at all, and a lock lets one process
at a time work on a run.

Records that take long to make are committed with the book, in book/records (or what
RNC_RECORDS names), and are found there by whoever asks for the same settings.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout

from rnc import cost, data, experiments
from rnc.config import METHODS, Attack, Study, Training, UserError, key, named_seeds
from rnc.stronger import measure_stronger, under_stronger
from rnc.training import Checkpoint, build, train

VERSION = 1  # raise it when the same settings give other results: older ones are not read then
KINDS = {"record": ".json", "stronger": ".stronger.json"}  # of results, and how their files end
LONG = 3 * 3600  # seconds on a CPU that nobody waits for without having been asked


class Damaged(Exception):
    """A stored file is not what was written."""


class StoreError(UserError):
    """The store cannot be written, or has no space."""


class TooLong(UserError):
    """A run that would take many hours on a CPU was not asked for in so many words."""


def store() -> Path:
    """The folder of the store; made when something is put there."""
    return data.place("RNC_STORE", "runs", "runs")


def kept() -> Path:
    """The folder of the records that are committed with the book."""
    return data.place("RNC_RECORDS", "book/records", "records")


def folder(training: Training) -> Path:
    """Where a training and its measurements are stored."""
    return store() / f"v{VERSION}" / training.slug


def find(training: Training, attack: Attack, kind: str = "record") -> dict | None:
    """What `record` or, if that is the kind, `record_stronger` gives, if it is there already.

    It may have been made on this machine or be one of the book's; None where there is none.
    """
    paths = (_path(root, training, attack, kind) for root in (store(), kept()))
    return next((found for path in paths if (found := _read_json(path)) is not None), None)


def record(
    training: Training,
    attack: Attack,
    device: str = "cpu",
    *,
    long: bool = False,
    deadline: float = math.inf,
) -> dict:
    """Everything the chapters show of one network under one attack.

    Looked up, or else trained and measured, with progress on the standard error.

    Args:
        training: which network.
        attack: the attack of the evaluation.
        device: where to compute what is missing.
        long: compute it on a CPU too if that takes more than three hours.
        deadline: time.time() at which to stop; the same call goes on from there.

    Returns:
        See `rnc.experiments.measure_run`; with `settings`, `deviations` (from the paper),
        `history` (of the training) and `environment` (device, versions, commit, seconds).

    Raises:
        TooLong: it is not recorded, would take many hours, and `long` is not set.
        DataError, StoreError: before anything is computed.
        Diverged: the training's loss or weights are no longer finite.
        OutOfTime: the deadline came first.
    """

    def measure(images: data.Images, snapshots: list[Checkpoint], end: Checkpoint) -> dict:
        rows_path = _path(store(), training, attack, "record").with_suffix(".rows.json")
        rows = {int(epoch): row for epoch, row in (_read_json(rows_path) or {}).items()}

        def keep_row(epoch: int, row: dict) -> None:
            rows[epoch] = row
            _write(rows_path, json.dumps(rows).encode())

        measured = experiments.measure_run(
            training, attack, images, snapshots, rows, keep_row, deadline
        )
        return {"history": experiments.plain(experiments.columns(end.history))} | measured

    return _made(training, attack, "record", device, long, deadline, measure)


def record_stronger(
    training: Training,
    attack: Attack,
    device: str = "cpu",
    *,
    long: bool = False,
    deadline: float = math.inf,
) -> dict:
    """What stronger and adaptive attacks change of a record; see `rnc.stronger`.

    Looked up, or else measured, on a network that is trained first if its weights are not in
    the store. Arguments and errors as in `record`.

    Returns:
        See `rnc.stronger.measure_stronger`; with `settings`, `deviations` and `environment`.
    """

    def measure(images: data.Images, snapshots: list[Checkpoint], end: Checkpoint) -> dict:
        return measure_stronger(training, attack, images, snapshots[-1], deadline)

    return _made(training, attack, "stronger", device, long, deadline, measure)


def _made(
    training: Training,
    attack: Attack,
    kind: str,
    device: str,
    long: bool,
    deadline: float,
    measure: Callable[[data.Images, list[Checkpoint], Checkpoint], dict],
) -> dict:
    """Finds a result, or trains, measures and stores it, with where it comes from."""
    if (found := find(training, attack, kind)) is not None:
        return found
    if not long and device == "cpu":
        check_length(training, attack, device, (kind,))
    path = _path(store(), training, attack, kind)
    with _locked(path.parent):
        if (found := find(training, attack, kind)) is not None:  # another process was faster
            return found
        images = data.load(training.dataset, device, training.per_class)
        snapshots, end = _trained(training, images, deadline)
        result = {
            "settings": {"training": asdict(training), "attack": asdict(attack)},
            "deviations": training.deviations(),
            **measure(images, snapshots, end),
            "environment": {
                **experiments.environment(images.x.device),
                "training_seconds": round(end.seconds, 1),
            },
        }
        text = _lines(result)
        _write(path, text.encode())
        path.with_suffix(".rows.json").unlink(missing_ok=True)
        return json.loads(text)


def estimate(training: Training, attack: Attack, device: str, kinds: Iterable[str]) -> float:
    """About how many seconds it takes to make what is missing of some kinds of results."""
    parts = [kind for kind in kinds if find(training, attack, kind) is None]
    if not parts:
        return 0
    if not _snapshot_path(training, training.epochs).exists():
        parts.append("training")
    return cost.seconds(training, attack, device, parts)


def check_length(training: Training, attack: Attack, device: str, kinds: Iterable[str]) -> float:
    """The estimate.

    Raises:
        TooLong: it is many hours, on a CPU.
    """
    seconds = estimate(training, attack, device, kinds)
    if device == "cpu" and seconds > LONG:
        there = find(training, attack) is not None
        raise TooLong(
            f"there is no record {'under stronger attacks ' * there}of {training.label}, seed "
            f"{training.seed}, on {training.dataset}, and making it would take about "
            f"{cost.spoken(seconds)} on this CPU: use a GPU (device cuda), shorten it (epochs, "
            f"per_class, width), or start it all the same with python -m rnc run"
            f"{' --stronger' * ('stronger' in kinds)} --long"
        )
    return seconds


def keep(training: Training, attack: Attack) -> None:
    """Copies what there is of a run's results to those of the book."""
    for kind in KINDS:
        path, made = (_path(root, training, attack, kind) for root in (kept(), store()))
        if made.exists() and not path.exists():
            with _writing(path.parent, "RNC_RECORDS"):
                path.parent.mkdir(parents=True, exist_ok=True)
                _write(path, made.read_bytes())


def records(
    study: Study, *labels: str, seed: int | None = None, stronger: bool = False
) -> dict[str, dict]:
    """Records of a study's networks by name: ST, AT, TRADES, TRADES (frozen BN).

    Args:
        study: the networks, the attack and the device.
        labels: which of the networks; none given: all four.
        seed: one of the study's seeds; None: its first.
        stronger: with the values of the stronger attacks where those are measured; see
            `rnc.stronger.under_stronger`.

    Raises:
        ValueError: there is no such network.
        Mismatch: the record and those values are of different networks of the same settings.
    """
    known = [training.label for training in study.variants(seed)]
    if unknown := [label for label in labels if label not in known]:
        raise ValueError(f"there is no network {unknown[0]!r}; there are {', '.join(known)}")
    chosen = [t for t in study.variants(seed) if not labels or t.label in labels]
    found = {t.label: record(t, study.attack, study.device) for t in chosen}
    if not stronger:
        return found
    return {
        t.label: under_stronger(found[t.label], record_stronger(t, study.attack, study.device))
        for t in chosen
    }


def found(study: Study) -> list[dict[str, dict]]:
    """Those records of a study that are there, by network; a list over its seeds."""
    return [
        {t.label: there for t in study.variants(seed) if (there := find(t, study.attack))}
        for seed in study.seeds
    ]


def by_network(study: Study, *labels: str) -> dict[str, list[dict]]:
    """For each of a study's networks its records at all seeds; arguments as in `records`."""
    seeds = [records(study, *labels, seed=seed) for seed in study.seeds]
    return {label: [found[label] for found in seeds] for label in seeds[0]}


def recorded() -> dict[str, list[dict[str, dict]]]:
    """The records that are committed with the book.

    Returns:
        By scale, in words, a list over seeds of records by network; as `rnc.judge` takes them.
    """
    there = []
    for path in sorted(kept().glob(f"v{VERSION}/*/*.json")):
        if path.name.endswith(KINDS["stronger"]):
            continue
        if (record := _read_json(path)) is not None:
            settings = record["settings"]["training"]
            inner = settings["attack"] and Attack(**settings["attack"])
            drops = tuple(settings["drops"])
            there.append((Training(**{**settings, "attack": inner, "drops": drops}), record))
    there.sort(key=lambda pair: (pair[0].epochs, METHODS.index(pair[0].method), pair[0].label))
    scales: dict[str, dict[int, dict[str, dict]]] = {}
    for training, record in there:
        scale = f"{training.scale}; {Attack(**record['settings']['attack'])}"
        scales.setdefault(scale, {}).setdefault(training.seed, {})[training.label] = record
    return {
        f"{scale}; {named_seeds(sorted(seeds))}": [seeds[seed] for seed in sorted(seeds)]
        for scale, seeds in scales.items()
    }


def side_by_side(study: Study) -> dict[str, list[dict[str, dict]]]:
    """What there is of the quick preset, of a study, and of all that is kept, as `recorded`."""
    own = {str(s): found(s) for s in (Study.of(), study)}
    return own | recorded() | own  # these first, and not replaced


def weights(training: Training, device: str = "cpu") -> list[Checkpoint]:
    """Weights of a training at its snapshots; trained first if they are not in the store."""
    with _locked(folder(training)):
        return _trained(training, data.load(training.dataset, device, training.per_class))[0]


def _path(root: Path, training: Training, attack: Attack, kind: str) -> Path:
    name = f"{attack.slug}-{key(attack)}{KINDS[kind]}"
    return root / f"v{VERSION}" / training.slug / name


def _snapshot_path(training: Training, epoch: int) -> Path:
    return folder(training) / f"epoch-{epoch:04d}.npz"


def _trained(
    training: Training, images: data.Images, deadline: float = math.inf
) -> tuple[list[Checkpoint], Checkpoint]:
    """Snapshots and end of a training, under the lock of its folder."""
    home = folder(training)
    place = home / "checkpoint.npz"
    try:
        start = _load(place) if place.exists() else None
        done = start.epoch if start else -1
        snapshots = {
            e: _load(_snapshot_path(training, e)) for e in training.snapshots() if e <= done
        }
    except (Damaged, FileNotFoundError) as error:
        warnings.warn(f"{error}; training {training.slug} again from the start", stacklevel=3)
        start, snapshots = None, {}
        for rows in home.glob("*.rows.json"):
            rows.unlink()

    if start is None or start.epoch < training.epochs:
        if start is not None:
            print(f"resuming {training.slug} after epoch {start.epoch}", file=sys.stderr)

        def keep(snapshot: Checkpoint) -> None:
            snapshots[snapshot.epoch] = snapshot
            _save(_snapshot_path(training, snapshot.epoch), snapshot)

        _check_space(home, training, images, len(snapshots))
        start = train(
            training,
            images,
            start,
            keep,
            lambda checkpoint: _save(place, checkpoint),
            deadline=deadline,
        )
    return [snapshots[e] for e in training.snapshots()], start


@contextmanager
def _locked(home: Path):
    lock = FileLock(home / ".lock")
    try:
        with _writing(home):
            home.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
    except Timeout:
        print(f"another process works on {home.name}; waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writing(path: Path, variable: str = "RNC_STORE"):
    """What the system says of a folder that cannot be written becomes one sentence."""
    try:
        yield
    except Timeout:
        raise
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written ({error.strerror or error}); set {variable} to a folder "
            f"that can, with enough space"
        ) from error


def _check_space(home: Path, training: Training, images: data.Images, there: int) -> None:
    """Refuses a training whose snapshots and checkpoints would not fit on the disk."""
    size = sum(t.numel() * t.element_size() for t in build(training, images).state_dict().values())
    # a checkpoint holds the momentum too, and is written beside the one that it replaces
    needed = size * (len(training.snapshots()) - there + 4)
    free = shutil.disk_usage(home).free
    if free < needed:
        raise StoreError(
            f"{training.label}, seed {training.seed} needs {needed / 1e6:.0f} MB in {store()}, "
            f"and {free / 1e6:.0f} MB are free; set RNC_STORE to a folder with enough space"
        )


def _lines(result: dict) -> str:
    """JSON that can be compared line by line: one list of numbers or words per line."""
    text = json.dumps(result, indent=1, allow_nan=False, ensure_ascii=False)
    return re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found[0].split()), text) + "\n"


def _save(path: Path, checkpoint: Checkpoint) -> None:
    meta = {
        "epoch": checkpoint.epoch,
        "history": checkpoint.history,
        "seconds": checkpoint.seconds,
    }
    arrays = {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
    arrays |= {f"model.{name}": t.cpu().numpy() for name, t in checkpoint.model.items()}
    arrays |= {f"momentum.{i}": t.cpu().numpy() for i, t in enumerate(checkpoint.momentum)}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    body = buffer.getbuffer()
    _write(path, body, hashlib.sha256(body).digest())


def _load(path: Path) -> Checkpoint:
    content = path.read_bytes()
    body, digest = content[:-32], content[-32:]
    if hashlib.sha256(body).digest() != digest:
        raise Damaged(f"{path} is damaged (its digest does not match)")
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        meta = json.loads(arrays["meta"].tobytes())
        tensors = {n: torch.from_numpy(arrays[n]) for n in arrays.files if n != "meta"}
    momentum = [name for name in tensors if name.startswith("momentum.")]
    return Checkpoint(
        meta["epoch"],
        {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")},
        [tensors[f"momentum.{i}"] for i in range(len(momentum))],
        meta["history"],
        meta["seconds"],
    )


def _read_json(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        warnings.warn(f"{path} is damaged (not valid JSON); measuring again", stacklevel=3)
        return None


def _write(path: Path, *parts: bytes) -> None:
    beside = path.with_name(f".{path.name}.part")
    with _writing(path.parent):
        try:
            with open(beside, "wb") as file:
                for part in parts:
                    file.write(part)
            os.replace(beside, path)
        except OSError:  # a full disk: do not keep it full
            beside.unlink(missing_ok=True)
            raise
