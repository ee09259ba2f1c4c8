"""Where attacks leave points of a network, and how sure of itself it is."""

from __future__ import annotations

import numpy as np
import torch
from torch import Generator, Tensor, nn

from rnc.attacks import gaussian, pgd
from rnc.collapse import simplex_alignment
from rnc.neighbours.mixup.geometry import TRIANGLE, Frame
from rnc.surveys import class_means, measures, read_out, share

BINS = 15  # of the largest probability
LEADS = np.linspace(0, 1.5, 31)  # edges; the last bin has all that is above too
CHANNEL = 0.5  # a smaller lead is a channel
KINDS = ("pgd", "margin", "long", "gauss")  # see `perturbed`
SWEEP = (1, 2, 4, 8)  # eps in 1/255


def landing(logits: Tensor, h: Tensor, y: Tensor, frame: Frame, margin: float) -> dict:
    """Where points are, clean or perturbed.

    The lead is the largest logit less the second, over the margin D: about 1 at a vertex, 0 in the
    middle of a channel.

    Args:
        logits, h, y: N x K, N x D, and the points' own labels N.
        margin: D.

    Returns:
        `accuracy`, `confidence` (mean largest probability); `leap` and `leap_seen`, the angle of
        the mean of the points predicted as a class and the clean mean of that class, mean over
        classes, rad, in all dimensions and in what the classifier sees; `predicted`, the points
        predicted as each class (the mean is over those with any); `in_channel`, the share with a
        lead below 0.5, and `between_wrong`, of those too whose two largest logits are both of
        other classes than the label; `leads`, the shares of LEADS.
    """
    k, best = logits.shape[1], logits.double().topk(2)
    predicted = best.indices[:, 0]
    means = class_means(frame.centred(h), predicted, k)
    lead = (best.values[:, 0] - best.values[:, 1]) / margin
    inside, wrong = lead < CHANNEL, (best.indices != y[:, None]).all(1)
    counts, _ = np.histogram(np.clip(lead.numpy(), LEADS[0], LEADS[-1]), LEADS)

    def leap(clean: Tensor, perturbed: Tensor) -> float:
        return float(simplex_alignment(clean, perturbed).nanmean())

    return {
        "accuracy": share(predicted == y),
        "confidence": float(logits.double().softmax(1).amax(1).mean()),
        "leap": leap(frame.means, means),
        "leap_seen": leap(frame.means @ frame.seen, means @ frame.seen),
        "predicted": torch.bincount(predicted, minlength=k),
        "in_channel": share(inside),
        "between_wrong": share(inside & wrong),
        "leads": counts / len(y),
    }


def corners(logits: Tensor, y: Tensor, margin: float) -> Tensor:
    """Points in the triangle of the classes that matter to each, N x 2, three digits.

    Corners (see TRIANGLE) are the largest wrong class, the next and the own one; at one of them
    that class's logit is D above those of the other two.

    Args:
        logits, y: N x K and labels N.
        margin: D.
    """
    logits, label = logits.double(), y[:, None]
    wrong = logits.scatter(1, label, -torch.inf).topk(2).values
    three = torch.cat([wrong, logits.gather(1, label)], 1)
    three = (three - three.mean(1, keepdim=True)) / margin
    return (three @ TRIANGLE.T).round(decimals=3)


def perturbed(
    kind: str, model: nn.Module, x: Tensor, y: Tensor, eps: float, steps: int, seed: int
) -> Tensor:
    """Points under one of KINDS, N x C x H x W.

    Args:
        kind: `pgd`; `margin`, the same with the margin loss; `long`, with ten times the steps; and
            `gauss`, noise of the attack's size.
        eps: radius (l_inf), in 1/255; the step is a quarter.
        steps: of the attacks but `long`.
    """
    eps, noise = eps / 255, Generator().manual_seed(seed)
    if kind == "gauss":
        return gaussian(x, eps=eps, generator=noise)
    options = {"margin": {"loss": "margin"}, "long": {"steps": 10 * steps}}.get(kind, {})
    size = {"eps": eps, "alpha": eps / 4, "steps": steps} | options
    return pgd(model, x, y, **size, generator=noise)


def robust(model: nn.Module, x: Tensor, y: Tensor, eps: float, seed: int) -> dict[str, float]:
    """Accuracy under `pgd`, 20 steps of eps/4, and under `fgsm`, one of eps; eps in 1/255."""
    eps, noise = eps / 255, Generator().manual_seed(seed)
    strong = pgd(model, x, y, eps=eps, alpha=eps / 4, steps=20, generator=noise)
    one = pgd(model, x, y, eps=eps, alpha=eps, steps=1, random_start=False)
    read = {"pgd": strong, "fgsm": one}
    return {name: share(read_out(model, at)[0].argmax(1) == y) for name, at in read.items()}


def collapse(logits: Tensor, h: Tensor, y: Tensor, weight: Tensor) -> dict[str, float]:
    """NC1 to NC4 of some points."""
    found, _ = measures(logits, h, y, weight)
    return {name: found[name] for name in ("nc1", "nc2_norms", "nc2_angles", "nc3", "nc4")}


def reliability(logits: Tensor, y: Tensor) -> dict:
    """Calibration: `ece`, the expected calibration error over BINS bins of equal width of the
    largest probability; `accuracy` and mean `confidence`; `bins`, for each its share of the
    points, their mean confidence and their accuracy (nan in an empty one)."""
    chance, predicted = logits.double().softmax(1).max(1)
    right = (predicted == y).double()
    place = (chance * BINS).long().clamp_max(BINS - 1)
    count, sure, correct = (
        torch.bincount(place, weights, BINS).double() for weights in (None, chance, right)
    )
    return {
        "ece": float((sure - correct).abs().sum() / len(y)),
        "accuracy": float(right.mean()),
        "confidence": float(chance.mean()),
        "bins": {
            "share": count / len(y),
            "confidence": sure / count,
            "accuracy": correct / count,
        },
    }
