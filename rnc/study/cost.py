"""How long a run will take: one timed batch, times the work that its settings ask for."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable

import torch
from torch.nn import functional as F

from rnc.models import MODELS
from rnc.study import data
from rnc.study.measurements import Measurement
from rnc.study.settings import Evaluation, Training
from rnc.study.step import autocast
from rnc.study.training import reproducible

BATCH = {"cpu": 32, "cuda": 128}


def seconds(
    training: Training,
    evaluation: Evaluation,
    device: str,
    measurements: Iterable[Measurement],
    trains: bool,
) -> float:
    """An estimate of the time that some measurements and, if asked, the training take on a device.

    Data are loaded if their size is not known otherwise.
    """
    points, classes, shape = _size(training)
    measured = min(points, classes * evaluation.per_class) if evaluation.per_class else points
    # in forward passes of one image; a step of PGD is two
    inner = 2 * training.attack.steps if training.attack else 0
    epoch = points * (inner + training.method.passes)
    passes = training.epochs * epoch if trains else 0
    for m in measurements:
        snapshots = len(training.snapshots()) if m.snapshots else 1
        each = snapshots * m.passes(evaluation.attack)
        passes += each * (points if m.all_points else measured)
    network = training.model, training.width, training.precision
    return passes * _pass_seconds(*network, classes, shape, device)


def _size(training: Training) -> tuple[int, int, tuple[int, int, int]]:
    """Training points, classes, and the shape of an image."""
    if known := data.DATASETS.get(training.dataset):
        per_class = min(known.per_class, training.per_class or known.per_class)
        return known.classes * per_class, known.classes, known.shape
    images = data.load(training.dataset, per_class=training.per_class)
    return len(images.y), len(images.classes), tuple(images.x.shape[1:])


@functools.cache
def _pass_seconds(
    model: str, width: int, precision: str, classes: int, shape: tuple[int, ...], device: str
) -> float:
    """Time of one forward pass of one image: a third of a training step, per image."""
    where = torch.device(device)
    network = MODELS[model](classes, width).to(where, memory_format=torch.channels_last)
    x = torch.rand(BATCH[where.type], *shape, device=where)
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.zeros(len(x), dtype=torch.long, device=where)
    times = []
    with reproducible(where):
        for _ in range(4):  # the first one warms up
            began = time.perf_counter()
            with autocast(precision, where):
                loss = F.cross_entropy(network(x), y)
            loss.backward()
            loss.detach().item()  # waits for the device
            times.append(time.perf_counter() - began)
    return min(times[1:]) / 3 / len(x)


def spoken(seconds: float) -> str:
    """A time as people say it: 40 s, 12 min, 3.5 h, 4 days."""
    for unit, size, digits in (("days", 86400, 0), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"
