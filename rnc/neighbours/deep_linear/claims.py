"""The claims of Dang et al. (2023) as testable statements, and ours on what they leave open.

Bounds were chosen before values were looked at: 1e-4 of the largest entry for what a solver
finds, 1e-6 for objectives, a tenth for a network, which is not a free minimum. A class counts as
collapsed when its squared row is below a thousandth of N u (a hundredth of the longest for a
network).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import numpy as np

from rnc.neighbours.deep_linear.experiments import DEPTHS
from rnc.neighbours.neighbour import Seed, claim
from rnc.study.claims import Condition, Value, constant

DEEP = DEPTHS[1:]


def _frames(kind: str, measure: str) -> Value:
    """The largest over depths."""
    return lambda seed: max(
        abs(seed["frames"][kind][str(depth)][measure][seed["number"]]) for depth in DEPTHS
    )


def _collapse(measure: str, depths: Iterable[int], choose: Callable = max) -> Value:
    """Of what is one for each seed, or one for all."""

    def value(seed: Seed) -> float:
        found = [seed["collapse"][str(depth)][measure] for depth in depths]
        return choose(of[seed["number"]] if isinstance(of, list) else of for of in found)

    return value


def _wrong(depths: Iterable[int]) -> Value:
    """Classes of the sweep that are zero and should not be, or the other way round."""

    def value(seed: Seed) -> int:
        found = [seed["collapse"][str(depth)] for depth in depths]
        return max(
            int(
                sum((np.array(of["found"]) > 1e-3 * of["unit"]) != (np.array(of["predicted"]) > 0))
            )
            for of in found
        )

    return value


def _root_rule(seed: Seed) -> int:
    """How many classes fewer are alive than have a stationary point other than zero."""
    found = [seed["collapse"][str(depth)] for depth in DEEP]
    return min(of["root"] - int(sum(np.array(of["predicted"]) > 0)) for of in found)


def _reached(depth: int, scale: int) -> Value:
    return lambda seed: float(seed["origin"]["reached"][str(depth)][scale][seed["number"]])


def _pairs_over_simplex(seed: Seed) -> float:
    """The least, over decays, for ten classes and two layers."""
    pairs, simplex = (np.array(seed["entropy"][name]["10,2"]) for name in ("pairs", "simplex"))
    return float((pairs / simplex).min())


def _found_over_simplex(depth: int) -> Value:
    def value(seed: Seed) -> float:
        found = seed["entropy"]["descent"][str(depth)]
        return found["loss"][seed["number"]] / found["simplex"]

    return value


def _digits(measure: str, choose: Callable = max) -> Value:
    return lambda seed: choose(
        of[measure][seed["number"]] for of in seed["digits"]["depths"].values()
    )


def _wrong_digits(seed: Seed) -> int:
    count = 0
    for of in seed["digits"]["depths"].values():
        rows, predicted = (np.array(of[name][seed["number"]]) for name in ("rows", "predicted"))
        count += int(sum((rows > 1e-2 * predicted.max()) != (predicted > 0)))
    return count


def _recall_of_collapsed(seed: Seed) -> float:
    """The largest recall of a class that should be collapsed."""
    return max(
        max(np.array(of["test"][seed["number"]])[np.array(of["predicted"][seed["number"]]) == 0])
        for of in seed["digits"]["depths"].values()
    )


def _order_under_attack(seed: Seed) -> float:
    """Spearman's rank correlation of class size and accuracy under PGD over the classes that
    should not be collapsed, the smaller of both depths."""
    from scipy.stats import spearmanr

    counts, found = np.array(seed["digits"]["counts"]), []
    for of in seed["digits"]["depths"].values():
        alive = np.array(of["predicted"][seed["number"]]) > 0
        attacked = np.array(of["attacked"][seed["number"]])
        found.append(float(spearmanr(counts[alive], attacked[alive]).statistic))
    return min(found)


def _chance(seed: Seed) -> float:
    return 1 / len(seed["digits"]["counts"])


_claim = functools.partial(claim, "11_deep_linear")

CLAIMS = (
    _claim(
        "D1",
        "balanced: an orthogonal frame",
        "With balanced classes and no bias all layers end in an orthogonal frame.",
        "Dang et al., squared error, balanced",
        Condition("largest relative error", _frames("balanced", "error"), "<=", 1e-4),
        Condition("|loss / closed form − 1|", _frames("balanced", "gap"), "<=", 1e-6),
    ),
    _claim(
        "D2",
        "with a bias: a simplex",
        "With a bias they end in a simplex, and the bias is 1/K.",
        "Dang et al., squared error, balanced, last-layer bias",
        Condition("largest relative error", _frames("bias", "error"), "<=", 1e-4),
        Condition("|bias − 1/K|", _frames("bias", "bias"), "<=", 1e-4),
    ),
    _claim(
        "D3",
        "imbalanced: lengths as predicted",
        "With imbalanced classes they end in orthogonal vectors of the lengths that theory gives.",
        "Dang et al., squared error, imbalanced",
        Condition("largest relative error", _frames("imbalanced", "error"), "<=", 1e-4),
        Condition("|loss / closed form − 1|", _frames("imbalanced", "gap"), "<=", 1e-6),
    ),
    _claim(
        "D4",
        "one layer: small classes vanish",
        "With one layer classes below a size vanish, and descent ends there from any start.",
        "Dang et al., minority collapse",
        Condition("classes predicted wrongly", _wrong((1,)), "<=", 0),
        Condition("loss of a random start − closed form", _collapse("random", (1,)), "<=", 1e-6),
        Condition("loss with all alive − closed form", _collapse("all_alive", (1,)), "<=", 1e-6),
    ),
    _claim(
        "D5",
        "more layers: they vanish in a jump",
        "With more layers the minimum is zero for classes with another stationary point still.",
        "ours, on the length equation of Dang et al.",
        Condition("classes predicted wrongly", _wrong(DEEP), "<=", 0),
        Condition("loss of the best start − closed form", _collapse("gap", DEEP), "<=", 1e-6),
        Condition("classes with a root − classes alive", _root_rule, ">=", 1),
        Condition(
            "loss with all alive − closed form", _collapse("all_alive", DEEP, min), ">=", 1e-4
        ),
    ),
    _claim(
        "D6",
        "what descent finds hangs on its start",
        "With six layers descent finds the minimum from a large start, and not from a small one.",
        "ours",
        Condition("minimum reached from the largest start", _reached(6, -1), ">=", 1, best=1),
        Condition("minimum reached from the smallest start", _reached(6, 0), "<=", 0),
    ),
    _claim(
        "D7",
        "cross-entropy, one layer: a simplex",
        "Under the cross-entropy one layer ends in a simplex.",
        "Dang et al., cross-entropy",
        Condition(
            "|loss / simplex − 1|",
            lambda seed: abs(_found_over_simplex(1)(seed) - 1),
            "<=",
            1e-6,
        ),
    ),
    _claim(
        "D8",
        "cross-entropy, more layers: a simplex",
        "Under the cross-entropy the global solutions are simplices for more layers too.",
        "Dang et al., abstract",
        Condition(
            "best pairs / best simplex, K = 10, M = 2", _pairs_over_simplex, ">=", 1, neutral=1
        ),
        Condition(
            "loss that descent finds / simplex", _found_over_simplex(2), ">=", 1 - 1e-6, neutral=1
        ),
    ),
    _claim(
        "D9",
        "a real network comes close",
        "The last layers of a network on imbalanced digits come close to the closed form.",
        "Dang et al., experiments",
        Condition("loss / closed form − 1", _digits("gap", min), ">=", -1e-6),
        Condition("relative error of W Wᵀ", _digits("error"), "<=", 0.1),
        Condition("classes predicted wrongly", _wrong_digits, "<=", 0),
    ),
    _claim(
        "D10",
        "collapsed classes are lost",
        "Classes that collapse are lost; the smaller the others, the less is left under attack.",
        "ours",
        Condition("recall of collapsed classes", _recall_of_collapsed, "<=", 0.1, _chance),
        Condition(
            "the others: rank correlation of size and accuracy under attack",
            _order_under_attack,
            ">=",
            0.5,
            constant(0.0),
        ),
    ),
)
