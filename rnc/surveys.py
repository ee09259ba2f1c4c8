"""Collapse and robustness of any network, on any data: what the chapters ask, in one call."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from rnc.attacks import gaussian, pgd
from rnc.collapse import (
    ClassMeans,
    WithinClass,
    measure,
    nearest_class_centre,
    simplex_alignment,
)
from rnc.models import features
from rnc.progress import progress

# Images at a time: of the book's networks, 500 keep a core busy; on a GPU the more the better.
BATCH = {"cpu": 500, "cuda": 2500}
COLUMNS = ("points", "layer", "measure", "value")
COLLAPSE = (  # of `rnc.Collapse`
    "nc1", "nc2_norms", "nc2_angles", "nc2_norms_w", "nc2_angles_w", "nc3", "within", "between"
)  # fmt: skip


@dataclass(frozen=True)
class Survey:
    """What `survey` measured.

    Attributes:
        measures: for clean, pgd and gauss points, by name the measures of the last of the
            layers: accuracy, loss, nc1, nc2_norms, nc2_angles, nc3, nc4, ncc_accuracy and more,
            as `rnc.Collapse` defines them; those of the classifier are nan without one.
        layers: as `layerwise` gives it; `rnc.show.plots.layers` draws a survey.
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
            (points, last, name, value)
            for points, measured in self.measures.items()
            for name, value in measured.items()
        ]
        table += [
            (points, layer, name, value)
            for points in ("clean", "pgd")
            for name, values in self.layers[points].items()
            for layer, value in zip(earlier, values, strict=False)
        ]
        return [dict(zip(COLUMNS, row, strict=True)) for row in table]

    def save(self, path: str | Path) -> None:
        """Writes the tidy table as CSV."""
        with open(path, "w", newline="", encoding="utf-8") as file:
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
        ValueError: as `rnc.pgd` and `rnc.measure`; of what does not fit, before the attack.
    """
    layers = list(layers)
    if not layers:
        raise ValueError("layers must name at least one module; got none")
    features(model, x[:1], layers)
    attack = {"eps": eps, "alpha": alpha, "steps": steps, "norm": norm}
    # the clean points first: what is wrong with labels or weight is said before the attack
    read = read_out(model, x, layers[-1], batch)
    clean, centres = measures(*read, y, weight)
    parts = progress(x.split(batch), "attacking: batch", math.ceil(len(y) / batch))
    attacked = torch.cat(
        [
            pgd(model, part, labels, **attack, generator=generator)
            for part, labels in zip(parts, y.split(batch), strict=True)
        ]
    )
    logits, h = read_out(model, attacked, layers[-1], batch)
    noisy = gaussian(x, eps=eps, norm=norm, generator=generator)
    return Survey(
        {
            "clean": clean,
            "pgd": measures(logits, h, y, weight, centres)[0],
            "gauss": measures(*read_out(model, noisy, layers[-1], batch), y, weight, centres)[0],
        },
        layerwise(model, layers, {"clean": x, "pgd": attacked}, y, batch),
        simplex_alignment(centres, class_means(h, logits.argmax(1), logits.shape[1])),
    )


def read_out(
    model: nn.Module, x: Tensor, layer: str = "penultimate", batch: int | None = None
) -> tuple[Tensor, Tensor]:
    """Logits N x K and the features N x D of one layer of all points, so many at a time; None:
    see `batch_size`."""
    read = [features(model, part, [layer]) for part in x.split(batch or batch_size(x))]
    return torch.cat([logits for logits, _ in read]), torch.cat([h[layer] for _, h in read])


def measures(
    logits: Tensor,
    h: Tensor,
    y: Tensor,
    weight: Tensor | None = None,
    centres: Tensor | None = None,
) -> tuple[dict[str, float], Tensor]:
    """All measures of some points, by name, and their class means K x D.

    NC1 to NC4 use the points' own means and their original labels, also when the points are
    perturbed. `ncc_accuracy` uses `centres` (means of the clean points) where given.
    """
    collapse = measure([(h, y)], logits.shape[1], weight)
    predicted = logits.argmax(1)
    own = nearest_class_centre(h, collapse.means)
    nearest = own if centres is None else nearest_class_centre(h, centres)
    return {
        "accuracy": share(predicted == y),
        "loss": float(F.cross_entropy(logits, y)),
        **{name: getattr(collapse, name) for name in COLLAPSE},
        "nc4": share(own != predicted),
        "ncc_accuracy": share(nearest == y),
    }, collapse.means


def layerwise(
    model: nn.Module,
    layers: Sequence[str],
    points: dict[str, Tensor],
    y: Tensor,
    batch: int | None = None,
) -> dict:
    """NC1, NC2 and NCC accuracy at every layer, for points of several kinds.

    All layers are measured together, and nothing larger than the features of one batch is kept.
    Points are passed twice, since the directions of NC1 are those of the means of all.

    Args:
        model: any network.
        layers: names of its modules, in order of depth.
        points: by kind, images N x C x H x W; NCC centres are the class means of the first kind.
        y: labels, N.
        batch: points at a time; None: see `batch_size`.

    Returns:
        `names`, and for each kind lists over layers of `nc1`, `nc2_norms`, `nc2_angles`,
        `ncc_accuracy`.
    """
    k = int(y.max()) + 1
    centres: dict[str, Tensor] = {}
    result: dict = {"names": list(layers)}
    for kind, x in points.items():

        def outputs(x: Tensor = x) -> Iterator[tuple[str, Tensor, Tensor]]:
            size = batch or batch_size(x)
            for part, labels in zip(x.split(size), y.split(size), strict=True):
                for name, h in features(model, part, layers)[1].items():
                    yield name, h, labels

        means = {name: ClassMeans(k) for name in layers}
        for name, h, labels in outputs():
            means[name].update(h, labels)
        centres = centres or {name: means[name].means for name in layers}
        within = {name: WithinClass(means[name]) for name in layers}
        right = dict.fromkeys(layers, 0)
        for name, h, labels in outputs():
            within[name].update(h, labels)
            right[name] += int((nearest_class_centre(h, centres[name]) == labels).sum())
        measured = {name: within[name].result() for name in layers}
        result[kind] = {
            of: [getattr(measured[name], of) for name in layers]
            for of in ("nc1", "nc2_norms", "nc2_angles")
        } | {"ncc_accuracy": [right[name] / len(y) for name in layers]}
    return result


def batch_size(x: Tensor) -> int:
    """How many of some images to give a network of the book at a time, for their device."""
    return BATCH.get(x.device.type, BATCH["cpu"])


def class_means(h: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Mean of each group of points, K x D, float64; nan for a group without points."""
    means = ClassMeans(num_classes)
    means.update(h, labels)
    return means.means


def share(condition: Tensor) -> float:
    """Of the points for which it is true."""
    return float(condition.double().mean())
