"""Collapse and robustness of any network, on any data: what the chapters ask, in one call."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from rnc import experiments
from rnc.attacks import gaussian, pgd
from rnc.collapse import simplex_alignment
from rnc.models import features
from rnc.progress import progress

COLUMNS = ("points", "layer", "measure", "value")


@dataclass(frozen=True)
class Survey:
    """What `survey` found.

    Attributes:
        measures: for clean, pgd and gauss points, by name the measures of the last of the
            layers: accuracy, loss, nc1, nc2_norms, nc2_angles, nc3, nc4, ncc_accuracy and more,
            as `rnc.Collapse` defines them; those of the classifier are nan without one.
        layers: `names`, and for `clean` and `perturbed` points lists over the layers of nc1,
            nc2_norms, nc2_angles and ncc_accuracy; `rnc.plots.layers` draws it.
        leap: per class, the angle between the mean of the attacked points that the network
            takes for it and its clean mean, in radians; nan where no point arrived.
    """

    measures: dict[str, dict[str, float]]
    layers: dict
    leap: Tensor

    def rows(self) -> list[dict]:
        """A tidy table of points, layer, measure and value; `pandas.DataFrame` takes it."""
        *earlier, last = self.layers["names"]
        table = [
            (points, last, measure, value)
            for points, measured in self.measures.items()
            for measure, value in measured.items()
        ]
        table += [
            (points, layer, measure, value)
            for kind, points in (("clean", "clean"), ("perturbed", "pgd"))
            for measure, values in self.layers[kind].items()
            for layer, value in zip(earlier, values, strict=False)
        ]
        return [dict(zip(COLUMNS, row, strict=True)) for row in table]

    def save(self, path: str | Path) -> None:
        """Writes the tidy table as CSV."""
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows())


def survey(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    layers: Iterable[str],
    weight: Tensor | None = None,
    *,
    eps: float = 8 / 255,
    alpha: float = 2 / 255,
    steps: int = 10,
    norm: str = "linf",
    batch: int = 128,
    generator: Generator | None = None,
) -> Survey:
    """NC1 to NC4, layers, and behaviour under PGD and noise, of any network on any data.

    Args:
        model: any network from images to logits, N x K. It is read in eval mode and left as it
            was; if it wants normalised images, put the normalisation into it.
        x: images, N x C x H x W, in [0, 1], on the device of the model.
        y: labels, N, in 0..K-1; every class needs points.
        layers: names of modules as in `model.named_modules()`, in order of depth; the last one
            gives the penultimate features. Outputs are flattened.
        weight: rows of the linear classifier on those features, K x D, such as
            `model.fc.weight`; without it NC3 and the measures of the classifier are nan.
        eps, alpha, steps, norm, generator: the attack, as in `rnc.pgd`; in image units.
        batch: points at a time; of all layers but the last no more features are kept at once.

    Raises:
        KeyError: a layer is not in the network.
        ValueError: as `rnc.pgd` and `rnc.measure`.
    """
    layers, parts = list(layers), list(zip(x.split(batch), y.split(batch), strict=True))
    size = {"eps": eps, "alpha": alpha, "steps": steps, "norm": norm}
    features(model, x[:1], layers)  # a wrong name is said before the attack
    attacked = torch.cat(
        [
            pgd(model, *part, **size, generator=generator)
            for part in progress(parts, "attacking: batch", len(parts))
        ]
    )
    points = {
        "clean": x,
        "pgd": attacked,
        "gauss": gaussian(x, eps=eps, norm=norm, generator=generator),
    }
    measures, means = {}, None
    for name, images in points.items():
        read = [features(model, part, layers[-1:]) for part in images.split(batch)]
        logits = torch.cat([part for part, _ in read])
        h = torch.cat([outputs[layers[-1]] for _, outputs in read])
        measures[name], own = experiments.collapse_of(logits, h, y, weight, means)
        means = own if means is None else means  # the clean ones
        if name == "pgd":
            landed = experiments.class_means(h, logits.argmax(1), logits.shape[1])
    return Survey(
        measures,
        experiments.layerwise(model, layers, x, attacked, y, batch),
        simplex_alignment(means, landed),
    )
