"""The store of runs: looks a result up by its settings, else computes it, once and whole.

    <store>/v1/<slug of the training>/checkpoint.npz      where a training is, or its end
    <store>/v1/<slug of the training>/epoch-0042.npz      weights after 42 epochs
    <store>/v1/<slug of the training>/<attack>.json       measurements under one attack

The store is the folder `runs` of a checkout, or ~/.cache/rnc of an installed package, or
what the environment variable RNC_STORE names. Weights are NumPy archives without pickled
objects, followed by a SHA-256 digest; measurements are JSON. Files are written beside their
place and moved there, so that a file is there whole or not at all, and a lock lets one process
at a time work on a run.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import warnings
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout

from rnc import data, experiments
from rnc.config import Attack, Study, Training, key
from rnc.training import Checkpoint, train

VERSION = 1  # raise it when the same settings give other results: older ones are not read then


class Damaged(Exception):
    """A stored file is not what was written."""


def store() -> Path:
    """The folder of the store; made when something is put there."""
    if "RNC_STORE" in os.environ:
        return Path(os.environ["RNC_STORE"]).expanduser().absolute()
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").exists():
        return checkout / "runs"
    return Path.home() / ".cache" / "rnc"


def folder(training: Training) -> Path:
    """Where a training and its measurements are stored."""
    return store() / f"v{VERSION}" / training.slug


def record(training: Training, attack: Attack, device: str = "cpu") -> dict:
    """Everything the chapters show of one network under one attack.

    Looked up, or else trained and measured, with progress on the standard error.

    Args:
        training: which network.
        attack: the attack of the evaluation.
        device: where to compute what is missing.

    Returns:
        See `rnc.experiments.measure_run`; with `settings`, `history` (of the training) and
        `environment` (device, versions, commit, seconds).
    """
    path = folder(training) / f"{attack.slug}-{key(attack)}.json"
    if (found := _read_json(path)) is not None:
        return found
    with _locked(path.parent):
        if (found := _read_json(path)) is not None:  # another process was faster
            return found
        images = data.load(training.dataset, device)
        snapshots, end = _trained(training, images)
        measured = experiments.measure_run(training, attack, images, snapshots)
        result = {
            "settings": {"training": asdict(training), "attack": asdict(attack)},
            "history": end.history,
            **measured,
            "environment": {
                **experiments.environment(images.x.device),
                "training_seconds": round(end.seconds, 1),
            },
        }
        text = json.dumps(result, indent=1)
        _write(path, text.encode())
        return json.loads(text)


def records(study: Study, *labels: str, seed: int | None = None) -> dict[str, dict]:
    """Records of a study's networks by name: ST, AT, TRADES, TRADES (frozen BN).

    Args:
        study: the networks, the attack and the device.
        labels: which of the networks; none given: all four.
        seed: one of the study's seeds; None: its first.

    Raises:
        ValueError: there is no such network.
    """
    known = [training.label for training in study.variants(seed)]
    if unknown := [label for label in labels if label not in known]:
        raise ValueError(f"there is no network {unknown[0]!r}; there are {', '.join(known)}")
    return {
        training.label: record(training, study.attack, study.device)
        for training in study.variants(seed)
        if not labels or training.label in labels
    }


def weights(training: Training, device: str = "cpu") -> list[Checkpoint]:
    """Weights of a training at its snapshots; trained first if they are not in the store."""
    with _locked(folder(training)):
        return _trained(training, data.load(training.dataset, device))[0]


def _trained(training: Training, images: data.Images) -> tuple[list[Checkpoint], Checkpoint]:
    """Snapshots and end of a training, under the lock of its folder."""
    home = folder(training)
    place = home / "checkpoint.npz"

    def snapshot_path(epoch: int) -> Path:
        return home / f"epoch-{epoch:04d}.npz"

    try:
        start = _load(place) if place.exists() else None
        done = start.epoch if start else -1
        snapshots = {e: _load(snapshot_path(e)) for e in training.snapshots() if e <= done}
    except (Damaged, FileNotFoundError) as error:
        warnings.warn(f"{error}; training {training.slug} again from the start", stacklevel=3)
        start, snapshots = None, {}

    if start is None or start.epoch < training.epochs:
        if start is not None:
            print(f"resuming {training.slug} after epoch {start.epoch}", file=sys.stderr)

        def keep(snapshot: Checkpoint) -> None:
            snapshots[snapshot.epoch] = snapshot
            _save(snapshot_path(snapshot.epoch), snapshot)

        start = train(training, images, start, keep, lambda checkpoint: _save(place, checkpoint))
    return [snapshots[e] for e in training.snapshots()], start


@contextmanager
def _locked(home: Path):
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"another process works on {home.name}; waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


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
    except FileNotFoundError:
        return None
    except ValueError:
        warnings.warn(f"{path} is damaged (not valid JSON); measuring again", stacklevel=3)
        return None


def _write(path: Path, *parts: bytes) -> None:
    beside = path.with_name(f".{path.name}.part")
    with open(beside, "wb") as file:
        for part in parts:
            file.write(part)
    os.replace(beside, path)
