"""Points of four classes in the three dimensions that their clean means span."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional as F

from rnc.study.measurements.subject import Read
from rnc.surveys import class_means

DRAWN_CLASSES = 4  # they span the three dimensions of a drawing
DRAWN_POINTS = 50  # per class


class Drawing:
    """Chooses four classes and places points and means of theirs.

    The classes are those among which most attacked points change their label. The axes are turned
    so that the first class stands on top of the other three; lengths are in units of the mean
    length of a vertex.

    Args:
        read: logits and features of all clean and all attacked (pgd) points.
        y: their labels, N.

    Attributes:
        still: `classes`; `vertices`, their clean means, 4 x 3; `true`, classes of the points
            drawn.
    """

    def __init__(self, read: Read, y: Tensor):
        predicted = read["pgd"][0].argmax(1)
        k = read["pgd"][0].shape[1]
        self.y, self.k = y, k
        leaps = torch.bincount(y * k + predicted, minlength=k * k).view(k, k).fill_diagonal_(0)
        # of many classes only the busiest are tried together
        busiest = (leaps.sum(0) + leaps.sum(1)).argsort(descending=True, stable=True)[:10]
        self.classes = max(
            itertools.combinations(sorted(busiest.tolist()), min(DRAWN_CLASSES, k)),
            key=lambda group: int(leaps[list(group)][:, list(group)].sum()),
        )
        means = class_means(read["clean"][1], y, k)[list(self.classes)]
        self.unit = _unit(means)
        vertices = (means - self.unit[0]) / self.unit[1]
        # the rotation that brings the means closest to an upright simplex (Procrustes)
        upright = _upright_simplex(len(self.classes)).to(means)
        u, _, v = torch.linalg.svd(upright.T @ vertices)
        self.axes = u @ v[: len(u)]
        self.drawn = torch.cat([(y == c).nonzero().flatten()[:DRAWN_POINTS] for c in self.classes])
        self.still = {
            "classes": list(self.classes),
            "vertices": _in_space(vertices @ self.axes.T),
            "true": y[self.drawn],
        }

    def frame(self, logits: Tensor, h: Tensor) -> dict:
        """The drawn points under one attack, from logits N x K and features N x D of all:
        `points`, each in 3-D, `predicted` classes, and `predicted_means`, of all points predicted
        as one of the drawn classes, 4 x 3."""
        predicted = logits.argmax(1)
        means = class_means(h, predicted, self.k)[list(self.classes)]
        return {
            "points": self._place(h[self.drawn].double(), *self.unit),
            "predicted": predicted[self.drawn],
            "predicted_means": self._place(means, *self.unit),
        }

    def moment(self, logits: Tensor, h: Tensor) -> dict:
        """The drawn points at another time of the training, from logits N x K and features N x D
        of all clean points: `points`, each in 3-D, `predicted` classes, and `means`, those of the
        drawn classes, 4 x 3.

        The axes stay, so that times can be compared. Origin and unit are those of the time: the
        mean of the four class means and their mean distance from it, in all D dimensions, since
        features grow and move as a whole. Means that are shorter than 1 point elsewhere.
        """
        means = class_means(h, self.y, self.k)[list(self.classes)]
        unit = _unit(means)
        return {
            "points": self._place(h[self.drawn].double(), *unit),
            "predicted": logits.argmax(1)[self.drawn],
            "means": self._place(means, *unit),
        }

    def _place(self, h: Tensor, origin: Tensor, scale: Tensor) -> Tensor:
        placed = (h - origin) @ self.axes.T / scale
        return _in_space((placed * 1000).round() / 1000)


def _unit(means: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of some class means, D, and their mean distance from it."""
    origin = means.mean(0)
    scale = (means - origin).norm(dim=1).mean()
    return origin, scale if scale else torch.ones_like(scale)  # of one that has learnt nothing


def _in_space(points: Tensor) -> Tensor:
    """Three coordinates, also where fewer than four classes span fewer dimensions."""
    return F.pad(points, (0, DRAWN_CLASSES - 1 - points.shape[1]))


def _upright_simplex(k: int) -> Tensor:
    """A regular simplex of k vertices in k - 1 dimensions; the first one is straight up."""
    vertices = torch.zeros(k, k - 1, dtype=torch.float64)
    for i in range(k - 1):  # vertex i stands on axis -1 - i, those after it lean on it
        axis = k - 2 - i
        vertices[i, axis] = (1 - vertices[i].square().sum()).sqrt()
        vertices[i + 1 :, axis] = (-1 / (k - 1) - vertices[i + 1 :] @ vertices[i]) / vertices[
            i, axis
        ]
    return vertices
