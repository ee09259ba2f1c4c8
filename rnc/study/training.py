"""One training loop for all methods, with snapshots, checkpoints and exact resume.

All randomness of an epoch comes from generators seeded by (seed, epoch), so a training
resumed at an epoch needs no state of a generator, and ends bitwise where an uninterrupted one
ends (on one CPU, with one thread).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn

from rnc.collapse import simplex_etf
from rnc.models import MODELS, Fixed
from rnc.progress import OutOfTime, progress
from rnc.study.capture import prepare
from rnc.study.data import DataError, Images
from rnc.study.settings import Training
from rnc.study.step import Step

CHECKPOINT_SECONDS = {"cpu": 10.0, "cuda": 60.0}
_seeded = threading.Lock()  # torch's own generator, of which all threads have the same one
VERSION = 1  # of weights; raise it when the same settings end in other weights


@dataclass
class Checkpoint:
    """A training between two epochs.

    Attributes:
        epoch: epochs done.
        model: state of the network, name to tensor.
        momentum: SGD's buffers in the order of the parameters; empty before the first step.
        history: per epoch done: loss and accuracy on the batches as trained on.
        seconds: time spent so far.
        step: on a GPU, how updates were made since it was begun or resumed.
    """

    epoch: int
    model: dict[str, Tensor]
    momentum: list[Tensor] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    step: str | None = None


class Diverged(RuntimeError):
    """The loss or a weight of a training is no longer finite."""


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """On a CPU one thread and deterministic algorithms: bitwise the same each time.

    One thread, because the order of a parallel sum changes its last digits; several
    trainings side by side use several cores better than one training does. On a GPU the
    fastest algorithms are taken, whose sums have no fixed order; float32 is not rounded to
    TensorFloat-32 there. All this is set for the process: threads side by side want one such
    block around all of them, else the first to end takes it from the others.
    """
    if device.type == "cuda":
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            yield
        return
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


def build(training: Training, images: Images) -> nn.Module:
    """The untrained network of a training, initialised from its seed.

    Raises:
        DataError: images have another number of channels than the networks take.
    """
    if images.x.shape[1] != 3:
        raise DataError(
            f"images must have 3 channels for the networks of this book; those of "
            f"{training.dataset} have {images.x.shape[1]}"
        )
    with _seeded, torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        model = MODELS[training.model](
            len(images.classes), training.width, images.mean, images.std
        )
    if training.method.etf:
        rotation = Generator().manual_seed(training.seed)
        rows = simplex_etf(len(images.classes), model.classifier.in_features, rotation)
        model.classifier = Fixed(rows.float())
    # as the images are: convolutions on CPU and GPU are faster so
    return model.to(images.x.device, memory_format=torch.channels_last)


def train(
    training: Training,
    images: Images,
    start: Checkpoint | None = None,
    on_snapshot: Callable[[Checkpoint], None] = lambda snapshot: None,
    on_checkpoint: Callable[[Checkpoint], None] = lambda checkpoint: None,
    checkpoint_seconds: float | None = None,
) -> Checkpoint:
    """Trains a network from the beginning or from a checkpoint.

    Args:
        training: the settings.
        images: the data, on the device to train on.
        start: where to go on from; None: from the beginning.
        on_snapshot: called with the state after each epoch of `training.snapshots()`; its
            momentum and history are left out.
        on_checkpoint: called with the state so far, after an epoch, when
            `checkpoint_seconds` have passed since the last time, and when the budget is over.
        checkpoint_seconds: 0: after every epoch; None: 10, and on a GPU, whose networks are large
            and epochs short, 60.

    Returns:
        The end of the training.

    Raises:
        CaptureFailed: on a GPU, before the first epoch; see `rnc.study.capture`.
        Diverged: names the epoch and the loss; the last checkpoint is one before it.
        OutOfTime: the budget is over; the last checkpoint is where it stopped.
    """
    if checkpoint_seconds is None:
        checkpoint_seconds = CHECKPOINT_SECONDS[images.y.device.type]
    model = build(training, images)
    step = Step(training, model, images)
    done = Checkpoint(0, _copy(model)) if start is None else start
    if start is None:
        on_snapshot(done)
    else:
        model.load_state_dict(start.model)
        # in the layout of the weights, not of the file: otherwise each step is a slow one
        for momentum, kept in zip(step.momentum, start.momentum, strict=True):
            momentum.copy_(kept)

    history, seconds, how = list(done.history), done.seconds, None

    def state(epoch: int, resumable: bool) -> Checkpoint:
        weights = _copy(model)
        if not all(tensor.isfinite().all() for tensor in weights.values()):
            raise Diverged(
                f"{training.method.title} diverged in epoch {epoch}: a weight is not finite; "
                f"loss {history[-1]['loss']}"
            )
        if not resumable:
            return Checkpoint(epoch, weights)
        momentum = [buffer.clone() for buffer in step.momentum]
        return Checkpoint(epoch, weights, momentum, list(history), seconds, how)

    epochs = progress(
        range(done.epoch + 1, training.epochs + 1),
        f"training {training}: epoch",
        training.epochs,
        done.epoch,
    )
    saved = time.monotonic()
    try:
        with reproducible(images.y.device):
            if done.epoch < training.epochs:
                how = prepare(step)
            with step.running():
                for epoch in epochs:
                    began = time.monotonic()
                    found = step.epoch(epoch - 1)
                    if not math.isfinite(loss := found["loss"]):
                        raise Diverged(
                            f"{training.method.title} diverged in epoch {epoch}: loss {loss}"
                        )
                    history.append(found)
                    seconds += time.monotonic() - began
                    if epoch in training.snapshots():
                        on_snapshot(state(epoch, resumable=False))
                    last = epoch == training.epochs
                    if last or time.monotonic() - saved >= checkpoint_seconds:
                        done = state(epoch, resumable=True)
                        on_checkpoint(done)
                        saved = time.monotonic()
    except OutOfTime:
        if len(history) > done.epoch:
            on_checkpoint(state(len(history), resumable=True))
        raise
    return done


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
