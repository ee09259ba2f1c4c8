"""Points whose label an attack changed: do they leap to a vertex, or scatter?"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from rnc.collapse import measure, ncc_logits, simplex_alignment
from rnc.study.measurements.measurement import Parts, measurement
from rnc.study.measurements.subject import Subject
from rnc.surveys import class_means


@measurement(version=1, passes=lambda attack: 4 * attack.steps + 4, later=True)
def changed(subject: Subject, part: Parts) -> dict:
    """The attacked points whose label the attack changed, grouped by the label they have now.

    Returns:
        For `pgd` the points whose predicted label is not their own, and for `targeted` those
        that reached their target, what `grouped` gives; and for `scatter` and `scatter_in_span`
        the same of points that did not leap but scatter (see `scatter`), as many as the changed
        ones of pgd and as far from the origin in root mean square.
    """
    clean, y, read = subject.clean_means, subject.y, subject.read
    return changed_labels(clean, *read["pgd"], y) | arrived(clean, *read["targeted"], y)


def changed_labels(clean: Tensor, logits: Tensor, h: Tensor, y: Tensor) -> dict:
    """`pgd`, `scatter` and `scatter_in_span` of `changed`, from the clean means K x D, logits and
    features of the attacked points, and labels."""
    away = logits.argmax(1) != y
    found = {"pgd": grouped(clean, h[away], logits[away].argmax(1), len(y))}
    for name in ("scatter", "scatter_in_span"):
        points = scatter(clean, h[away], in_span=name == "scatter_in_span")
        labels = ncc_logits(points, _simplex_of(clean)).argmax(1)
        found[name] = grouped(clean, points, labels, len(y))
    return found


def arrived(clean: Tensor, logits: Tensor, h: Tensor, y: Tensor) -> dict:
    """`targeted` of `changed`."""
    target = (y + 1) % len(clean)
    there = logits.argmax(1) == target
    return {"targeted": grouped(clean, h[there], target[there], len(y))}


def grouped(clean: Tensor, h: Tensor, labels: Tensor, points: int) -> dict:
    """Some points grouped by labels, against the clean class means K x D.

    Returns:
        A dictionary of

        - `share`: how many of all `points` they are.
        - `angle`, `length`: per class, the angle between the mean of its group and its clean
          mean, both centred (see `rnc.simplex_alignment`), in radians, and the quotient of their
          lengths; nan for a class of which there is no point.
        - `nc1`: NC1 of the groups, divided by their number less 1: variance within groups over
          that between, in an average direction; nan where there are fewer than two.
    """
    k = len(clean)
    means = class_means(h, labels, k) if len(h) else torch.full_like(clean, math.nan)
    known = ~means.isnan().any(1)
    groups, h = known.cumsum(0) - 1, h.double()
    a, b = clean - clean[known].mean(0), means - means[known].mean(0)
    spread = math.nan
    if int(known.sum()) > 1:
        spread = measure([(h, groups[labels])], int(known.sum())).nc1 / (int(known.sum()) - 1)
    return {
        "share": len(labels) / points,
        "angle": simplex_alignment(clean, means),
        "length": b.norm(dim=1) / a.norm(dim=1),
        "nc1": spread,
    }


def scatter(clean: Tensor, h: Tensor, in_span: bool) -> Tensor:
    """What points would be that an attack scatters in all directions alike: Gaussian, about the
    mean of the clean class means K x D, as many and with as much variance as the points h, N x D.

    Args:
        in_span: only in the K - 1 dimensions that the clean means span, with the variance that
            h has there.
    """
    origin = clean.mean(0)
    centred = h.double() - origin
    if in_span:
        axes = torch.linalg.svd(clean - origin, full_matrices=False)[2][: len(clean) - 1]
        centred = centred @ axes.T
    noise = torch.randn(centred.shape, generator=Generator().manual_seed(0), dtype=torch.float64)
    scale = centred.square().mean().sqrt() if len(h) else centred.new_zeros(())
    points = noise.to(centred.device) * scale
    return origin + (points @ axes if in_span else points)


def _simplex_of(clean: Tensor) -> Tensor:
    """The clean means with equal lengths: the classifier of collapse has no favourites."""
    directions = F.normalize(clean - clean.mean(0), dim=1)
    return clean.mean(0) + directions
