"""What the chapter on deep linear networks measures; results are kept in the store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rnc.errors import ParameterError
from rnc.neighbours.deep_linear import network
from rnc.neighbours.deep_linear.descent import Descent, descend, start, start_alive
from rnc.neighbours.deep_linear.theory import (
    Optimum,
    Problem,
    cost,
    decays_for,
    last_root,
    pairs_loss,
    simplex_loss,
)
from rnc.neighbours.neighbour import experiment
from rnc.study import notebook
from rnc.study.settings import seeds_of

DEPTHS = (1, 2, 3)
BALANCED = (20, 20, 20, 20)
SWEEP = (60, 40, 25, 18, 14, 12, 10, 9, 8, 6, 4)  # sizes about a threshold
ORIGIN_DEPTHS, SCALES = (1, 2, 3, 4, 6), (0.1, 0.2, 0.4, 0.7, 1.0)
ENTROPY = ((10, 1), (4, 2), (10, 2), (4, 3), (10, 3))  # classes and layers
ENTROPY_POINTS = 5
DIGITS = (100, 80, 60, 50, 40, 30, 20, 15, 10, 5)
DIGITS_THRESHOLD = 12


@dataclass(frozen=True)
class Settings:
    """What a reader can change.

    Attributes:
        counts: points of each class of the imbalanced problem.
        decay: of all layers and the features.
        width: d.
        threshold: class size, among those of SWEEP, up to which classes collapse.
        seeds: of starts, and of networks.
    """

    counts: tuple[int, ...] = (40, 20, 10, 10)
    decay: float = 2e-3
    width: int = 16
    threshold: float = 11
    seeds: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        problem = Problem(self.counts, (self.decay,), self.decay)
        object.__setattr__(self, "counts", problem.counts)
        most = max(len(self.counts), len(SWEEP))
        if not isinstance(self.width, int) or self.width < most:
            raise ParameterError(
                f"width must be a whole number, at least {most}, the most classes of a problem "
                f"here; got {self.width!r}"
            )
        if not SWEEP[-1] <= self.threshold <= SWEEP[0]:
            raise ParameterError(
                f"threshold must be between {SWEEP[-1]} and {SWEEP[0]}, the smallest and the "
                f"largest class of the sweep; got {self.threshold!r}"
            )

    @classmethod
    def from_notebook(cls, namespace: dict) -> Settings:
        """What a notebook's parameters ask for; counts and seeds such as "200,100,50,50"."""
        given = notebook.parameters(namespace, cls.__dataclass_fields__)
        if "counts" in given:
            given["counts"] = notebook.whole_numbers("counts", given["counts"], "200,100,50,50")
        if "seeds" in given:
            given["seeds"] = seeds_of(given["seeds"])
        return cls(**given)


@experiment(version=1)
def frames(settings: Settings) -> dict:
    """Descent beside the closed form, for `balanced`, `bias` and `imbalanced` problems at each
    depth: what `compared` gives."""
    found: dict = {}
    for name, counts, bias in (
        ("balanced", BALANCED, False),
        ("bias", BALANCED, True),
        ("imbalanced", settings.counts, False),
    ):
        for depth in DEPTHS:
            problem = Problem(counts, (settings.decay,) * depth, settings.decay, bias)
            end = descend(problem, _starts(problem, settings))
            found.setdefault(name, {})[str(depth)] = compared(problem, end)
    return found


def compared(problem: Problem, end: Descent) -> dict:
    """Of each start: `error`, the largest relative error of W W^T, of the products of the class
    means, of W times the means, and of all layers' spectra; `bias`, that of the bias; `gap`, loss
    over the closed form, less 1. Of the first start: `rows`, `means`, `logits`, K x K."""
    best, rows, means = Optimum.of(problem), end.classifier, end.means(problem)
    grams = {"rows": rows @ rows.mT, "means": means.mT @ means, "logits": rows @ means}
    errors = [_relative(found, getattr(best, name)) for name, found in grams.items()]
    k = len(problem.counts)
    for layer, spectrum in zip(end.layers, best.spectra(), strict=True):
        squared = torch.linalg.svdvals(layer)[:, :k].square()
        errors.append(_relative(squared[:, None], spectrum[None].copy()))
    return {
        "error": torch.stack(errors).amax(0),
        "bias": (end.bias - torch.tensor(best.bias)).abs().amax(1),
        "gap": end.loss / best.loss - 1,
    } | {name: gram[0] for name, gram in grams.items()}


@experiment(version=1)
def collapse(settings: Settings) -> dict:
    """Minority collapse in a sweep of class sizes, by depth.

    Returns:
        For each depth: `decay`; `predicted`, squared rows of the closed form by class; `root`, the
        number of classes that "largest root, or else zero" would keep; `found`, those of the best
        start; `gap`, its loss less the closed form's; `random` and `all_alive`, by seed the same
        of random starts and of starts at which all classes are alive, and `kept`, how many
        classes the latter keep.
    """
    found: dict = {"threshold": settings.threshold}
    for depth in DEPTHS:
        decay = decays_for(settings.threshold, SWEEP, depth)
        problem = Problem(SWEEP, (decay,) * depth, decay)
        best = Optimum.of(problem)
        patterns, some = len(SWEEP), len(settings.seeds)
        alive = [*range(1, patterns + 1), *[patterns] * some]
        begun = zip(
            start_alive(problem, settings.width, alive, settings.seeds[0]),
            _starts(problem, settings),
            strict=True,
        )
        # a larger rate would throw classes out of the pattern that they start in
        end = descend(problem, [torch.cat(parts) for parts in begun], steps=1500, rate=0.02)
        gap, squared = end.loss - best.loss, end.classifier.square().sum(2)
        number = int(gap[:patterns].argmin())
        all_alive, random = slice(patterns, patterns + some), slice(patterns + some, None)
        a = problem.points * problem.feature_decay
        found[str(depth)] = {
            "decay": decay,
            "unit": a,
            "predicted": best.p,
            "root": sum(cost(problem) / n <= last_root(depth) for n in SWEEP),
            "found": squared[number],
            "gap": gap[number],
            "random": gap[random],
            "all_alive": gap[all_alive],
            "kept": (squared[all_alive] > 1e-3 * a).sum(1),
        }
    return found


@experiment(version=1)
def origin(settings: Settings) -> dict:
    """By depth, by the scale s of a start, s/sqrt(d) an entry, and by seed, whether descent
    reaches the global minimum."""
    found = {}
    for depth in ORIGIN_DEPTHS:
        problem = Problem(BALANCED, (settings.decay,) * depth, settings.decay)
        scales = [s / settings.width**0.5 for s in SCALES for _ in settings.seeds]
        begun = start(problem, settings.width, scales, settings.seeds[0])
        end = descend(problem, begun, rate=0.02)  # a larger one would leap over what is near zero
        reached = end.loss / Optimum.of(problem).loss - 1 < 1e-4
        found[str(depth)] = reached.view(len(SCALES), -1)
    return {"scales": SCALES, "depths": ORIGIN_DEPTHS, "reached": found}


@experiment(version=1)
def entropy(settings: Settings) -> dict:
    """The cross-entropy: `simplex` and `pairs`, objectives of the two by number of classes and
    layers, over `decays`; and what descent finds for ten classes at a decay of 1e-3, for one and
    for two layers: `loss` by seed, and `spectrum` of the logits of the best, shares of the first.
    """
    decays = [float(decay) for decay in np.geomspace(1e-4, 3e-2, 21)]
    found: dict = {"decays": decays, "simplex": {}, "pairs": {}, "descent": {}}
    for classes, depth in ENTROPY:
        for name, value in (("simplex", simplex_loss), ("pairs", pairs_loss)):
            found[name][f"{classes},{depth}"] = [
                value(classes, ENTROPY_POINTS, (decay,) * depth, decay) for decay in decays
            ]
    for depth in (1, 2):
        problem = Problem((ENTROPY_POINTS,) * 10, (1e-3,) * depth, 1e-3)
        scale = [10**-0.5] * len(settings.seeds)
        end = descend(problem, start(problem, 10, scale, settings.seeds[0]), "cross_entropy")
        best = int(end.loss.argmin())
        logits = (end.classifier @ end.means(problem))[best]
        spectrum = torch.linalg.svdvals(logits - logits.mean(0))
        found["descent"][str(depth)] = {
            "loss": end.loss,
            "simplex": simplex_loss(10, ENTROPY_POINTS, problem.decays, 1e-3),
            "pairs": pairs_loss(10, ENTROPY_POINTS, problem.decays, 1e-3),
            "spectrum": spectrum / spectrum[0],
        }
    return found


@experiment(version=1)
def digits(settings: Settings) -> dict:
    """Networks on imbalanced digits, by depth and, for each seed, with the class sizes dealt to
    the digits anew.

    Returns:
        For each depth, lists over seeds of `gap`, objective over the closed form's, less 1;
        `error`, relative, of W W^T; and, by class size, of `predicted` and `rows` (squared
        lengths), `train`, `test` and `attacked` (accuracy).
    """
    found = {}
    for depth in (1, 2):
        decay = decays_for(DIGITS_THRESHOLD, DIGITS, depth)
        runs = []
        for seed in settings.seeds:
            order = np.random.default_rng(seed).permutation(len(DIGITS))  # size -> digit
            counts = [0] * len(DIGITS)
            for size, digit in zip(DIGITS, order, strict=True):
                counts[digit] = size
            problem = Problem(tuple(counts), (decay,) * depth, decay)
            images, best = network.Digits.of(counts), Optimum.of(problem)
            trained, loss = network.train(problem, images, seed)
            seen = network.examine(trained, problem, images)
            sized = {
                name: [seen[name][digit] for digit in order]
                for name in ("train", "test", "attacked")
            }
            runs.append(
                {
                    "gap": loss / best.loss - 1,
                    "error": float(_relative(seen["rows"][None], best.rows)),
                    "predicted": best.p[order],
                    "rows": seen["rows"].diagonal()[torch.tensor(order)],
                }
                | sized
            )
        found[str(depth)] = {name: [run[name] for run in runs] for name in runs[0]}
    return {"counts": DIGITS, "threshold": DIGITS_THRESHOLD, "depths": found}


def _starts(problem: Problem, settings: Settings) -> list[Tensor]:
    drawn = [start(problem, settings.width, [0.2], seed) for seed in settings.seeds]
    return [torch.cat(parts) for parts in zip(*drawn, strict=True)]


def _relative(found: Tensor, expected: np.ndarray) -> Tensor:
    """Of each of S matrices, the largest error over the largest entry."""
    wanted = torch.tensor(np.array(expected))
    return (found.double() - wanted).abs().amax((1, 2)) / wanted.abs().max()
