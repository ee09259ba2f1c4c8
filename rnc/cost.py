"""How long a run will take: one timed batch, times the work that its settings ask for."""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch
from torch.nn import functional as F

from rnc import data
from rnc.attacks import LOSSES
from rnc.config import Attack, Training
from rnc.experiments import SWEEP
from rnc.models import MODELS
from rnc.stronger import longer
from rnc.training import autocast, reproducible

BATCH = {"cpu": 32, "cuda": 128}
LAYERS = 9  # about as many as a network has
CIFAR = {"cifar10": (10, 5000, 1000), "cifar100": (100, 500, 100)}  # classes, images per class


def seconds(
    training: Training,
    attack: Attack,
    device: str = "cpu",
    parts: Iterable[str] = ("training", "record"),
) -> float:
    """An estimate of the time that parts of a run take on a device.

    The parts are training, record (measuring for one) and stronger (the attacks of
    `rnc.stronger`). Data are loaded if their size is not known otherwise; CIFAR is not.
    """
    points, test_points, classes, shape = _size(training)
    # In forward passes of one image. A step of PGD is two, a step of training is three; TRADES
    # looks at the clean output once more for its attack.
    inner = 2 * training.attack.steps if training.attack else 0
    epoch = points * (inner + {"st": 3, "at": 3, "trades": 7}[training.method])
    attacked = 2 * attack.steps
    snapshot = points * (2 * attacked + 4)
    end = points * (len(SWEEP[attack.norm]) * (attacked + 1) + 4) + test_points * (attacked + 2)
    passes = {
        "training": training.epochs * epoch,
        "record": len(training.snapshots()) * snapshot + end,
        # on the network, targeted, on its NCC classifier; and on that of each layer
        "stronger": points * (6 * len(LOSSES) * longer(attack).steps + (LAYERS + 2) * attacked),
    }
    return sum(passes[part] for part in parts) * _pass_seconds(
        training, classes, shape, torch.device(device)
    )


def _size(training: Training) -> tuple[int, int, int, tuple[int, int, int]]:
    """Train and test points, classes, and the shape of an image."""
    if training.dataset in CIFAR:
        k, train, test = CIFAR[training.dataset]
        limit = training.per_class or train
        return k * min(train, limit), k * min(test, limit), k, (3, 32, 32)
    images = data.load(training.dataset, per_class=training.per_class)
    return len(images.y), len(images.y_test), len(images.classes), tuple(images.x.shape[1:])


def _pass_seconds(training: Training, classes: int, shape: tuple, device: torch.device) -> float:
    """Time of one forward pass of one image: a third of a training step, per image."""
    model = MODELS[training.model](classes, training.width)
    model = model.to(device, memory_format=torch.channels_last)
    x = torch.rand(BATCH[device.type], *shape, device=device)
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.zeros(len(x), dtype=torch.long, device=device)
    times = []
    with reproducible(device):
        for _ in range(4):  # the first one warms up
            began = time.perf_counter()
            with autocast(training, device):
                loss = F.cross_entropy(model(x), y)
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
