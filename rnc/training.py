"""One training loop for three objectives, with snapshots, checkpoints and exact resume.

All randomness of an epoch comes from generators seeded by (seed, epoch), so a training
resumed at an epoch needs no state of a generator, and ends bitwise where an uninterrupted one
ends (on one CPU, with one thread).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from rnc.attacks import pgd, trades_perturbation
from rnc.config import Attack, Training
from rnc.data import Images, unit
from rnc.models import MODELS
from rnc.progress import progress


@dataclass
class Checkpoint:
    """A training between two epochs.

    Attributes:
        epoch: epochs done.
        model: state of the network, name to tensor.
        momentum: SGD's buffers in the order of the parameters; empty before the first step.
        history: per epoch done: loss and accuracy on the batches as trained on.
        seconds: time spent so far.
    """

    epoch: int
    model: dict[str, Tensor]
    momentum: list[Tensor] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


class Diverged(RuntimeError):
    """The loss or a weight of a training is no longer finite."""


class OutOfTime(Exception):
    """The time given to a run is over; what is done is kept, and the run can go on from it."""


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """On a CPU one thread and deterministic algorithms: bitwise the same each time.

    One thread, because the order of a parallel sum changes its last digits; several
    trainings side by side use several cores better than one training does. On a GPU the
    fastest algorithms are taken, whose sums have no fixed order; float32 is not rounded to
    TensorFloat-32 there.
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
    """The untrained network of a training, initialised from its seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        model = MODELS[training.model](
            len(images.classes), training.width, images.mean, images.std
        )
    # as the images are: convolutions on CPU and GPU are faster so
    return model.to(images.x.device, memory_format=torch.channels_last)


def objective(
    training: Training, model: nn.Module, x: Tensor, y: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """The loss of one batch and the logits that it is trained on.

    ST: cross-entropy on x. AT (Madry et al. 2018): cross-entropy on PGD-perturbed x. TRADES
    (Zhang et al. 2019): cross-entropy on x + beta * KL(model(x) || model(perturbed x)).
    `training.bn` decides the mode of BatchNorm in the attack and, if "frozen", after it.

    Args:
        training: its method, attack, bn and beta are used.
        model: in train mode; left in train mode unless `bn` is "frozen".
        x, y: images N x C x H x W in [0, 1] and labels N.
        generator: randomness of the attack, on the device of x.

    Returns:
        The mean loss with its graph, and logits N x K: of x for ST, of perturbed x otherwise.
    """
    if training.method == "st":
        logits = model(x)
        return F.cross_entropy(logits, y), logits

    size = {**attack_arguments(training.attack), "check": False}
    if training.method == "at":
        attacked = model
        if training.bn == "train":
            attacked = model.forward  # a plain callable is attacked in the mode it is in
        adversarial = pgd(attacked, x, y, generator=generator, **size)
        if training.bn == "frozen":
            model.eval()
        logits = model(adversarial)
        return F.cross_entropy(logits, y), logits

    adversarial = trades_perturbation(model, x, generator=generator, **size)
    if training.bn == "frozen":
        # The reference code's attack calls model.eval(), and nothing calls model.train()
        # before the next epoch begins: from the first batch on BatchNorm normalises by its
        # initial statistics and never updates them.
        model.eval()
    clean, logits = model(x), model(adversarial)
    return F.cross_entropy(clean, y) + training.beta * divergence(clean, logits), logits


def divergence(clean: Tensor, adversarial: Tensor) -> Tensor:
    """KL(softmax(clean) || softmax(adversarial)) of logits N x K, mean over points, N.

    Both sides stay in log space. With the probabilities themselves, as the official and the
    reference code have it, the gradient takes the logarithm of a probability that underflows to
    0 once logits are some 104 apart, and the loss of every later step is nan.
    """
    log_p, log_q = F.log_softmax(clean, dim=1), F.log_softmax(adversarial, dim=1)
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def autocast(training: Training, device: torch.device) -> torch.autocast:
    """The precision of a training's matrix products."""
    return torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "bfloat16")


def attack_arguments(attack: Attack) -> dict:
    """The keyword arguments of `rnc.attacks.pgd` for an attack, its sizes in image units."""
    return {
        "eps": attack.eps / 255,
        "alpha": attack.alpha / 255,
        "steps": attack.steps,
        "norm": attack.norm,
    }


def train(
    training: Training,
    images: Images,
    start: Checkpoint | None = None,
    on_snapshot: Callable[[Checkpoint], None] = lambda snapshot: None,
    on_checkpoint: Callable[[Checkpoint], None] = lambda checkpoint: None,
    checkpoint_seconds: float = 10.0,
    deadline: float = math.inf,
) -> Checkpoint:
    """Trains a network from the beginning or from a checkpoint.

    Args:
        training: the settings.
        images: the data, on the device to train on.
        start: where to go on from; None: from the beginning.
        on_snapshot: called with the state after each epoch of `training.snapshots()`; its
            momentum and history are left out.
        on_checkpoint: called with the state so far, after an epoch, when
            `checkpoint_seconds` have passed since the last time.
        checkpoint_seconds: 0: after every epoch.
        deadline: time.time() at which to be done: after the first epoch of a call, which is
            always made, none is begun that would not end by then.

    Returns:
        The end of the training.

    Raises:
        Diverged: names the epoch and the loss; the last checkpoint is one before it.
        OutOfTime: the deadline comes first; the last checkpoint is where it stopped.
    """
    model = build(training, images)
    parameters = list(model.parameters())
    optimiser = torch.optim.SGD(
        parameters,
        lr=training.lr,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    )
    done = Checkpoint(0, _copy(model)) if start is None else start
    if start is None:
        on_snapshot(done)
    else:
        model.load_state_dict(start.model)
        for parameter, buffer in zip(parameters, start.momentum, strict=True):
            optimiser.state[parameter]["momentum_buffer"] = buffer.clone().to(parameter)

    history, seconds, saved = list(done.history), done.seconds, time.monotonic()
    longest = 0.0  # of the epochs
    epochs = progress(
        range(done.epoch, training.epochs),
        f"training {training.label}, seed {training.seed}: epoch",
        training.epochs,
        done.epoch,
    )
    with reproducible(images.y.device):
        for epoch in epochs:
            began = time.monotonic()
            history.append(_epoch(training, model, optimiser, images.x, images.y, epoch))
            spent = time.monotonic() - began
            seconds, longest = seconds + spent, max(longest, spent)
            snapshot = epoch + 1 in training.snapshots()
            last, stop = epoch + 1 == training.epochs, time.time() + longest > deadline
            checkpoint = last or stop or time.monotonic() - saved >= checkpoint_seconds
            if snapshot or checkpoint:
                weights = _copy(model)
                if not all(tensor.isfinite().all() for tensor in weights.values()):
                    raise Diverged(
                        f"{training.label} diverged in epoch {epoch + 1}: a weight is not finite; "
                        f"loss {history[-1]['loss']}"
                    )
            if snapshot:
                on_snapshot(Checkpoint(epoch + 1, weights))
            if checkpoint:
                momentum = [optimiser.state[p]["momentum_buffer"].clone() for p in parameters]
                done = Checkpoint(epoch + 1, weights, momentum, list(history), seconds)
                on_checkpoint(done)
                saved = time.monotonic()
            if stop and not last:
                raise OutOfTime(f"{training.slug} stopped after epoch {epoch + 1}")
    return done


def _epoch(training, model, optimiser, x, y, epoch) -> dict[str, float]:
    model.train()
    for group in optimiser.param_groups:
        group["lr"] = training.learning_rate(epoch)
    seed = training.seed * 1_000_003 + epoch
    order = torch.randperm(len(y), generator=Generator().manual_seed(seed)).to(y.device)
    noise = Generator(y.device).manual_seed(seed)
    # summed on the device and read once: reading each batch would wait for it
    loss_sum, correct = torch.zeros((), device=y.device), torch.zeros((), device=y.device)
    for batch in order.split(training.batch):
        with autocast(training, y.device):
            loss, logits = objective(training, model, unit(x[batch]), y[batch], noise)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        loss_sum += loss.detach() * len(batch)
        correct += (logits.detach().argmax(1) == y[batch]).sum()
    mean_loss = float(loss_sum) / len(y)
    if not torch.isfinite(loss_sum):
        raise Diverged(f"{training.label} diverged in epoch {epoch + 1}: loss {mean_loss}")
    return {"loss": mean_loss, "accuracy": float(correct) / len(y)}


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
