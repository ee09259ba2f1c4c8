"""The claims of Fisher et al. (2024) as testable statements, and ours on robustness.

Bounds were chosen before values were looked at. Where two candidates are compared the bound is
that the one which is claimed is nearer; where a network is compared with standard training, that
it is better at each seed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from rnc.neighbours.mixup.experiments import ROBUST
from rnc.neighbours.mixup.geometry import LAMBDAS
from rnc.neighbours.mixup.theory import mixed_logits
from rnc.neighbours.neighbour import Seed, claim
from rnc.study.claims import Condition, Value, constant, less, ratio

ATTACKS = ("pgd", "margin", "long")  # see `rnc.neighbours.mixup.attacked.perturbed`
NEAR = (0.6, 0.7, 0.8)  # at 0.5 the difference is 0 on the channel and on the chord


def predicted(margin: float, classes: int) -> dict[str, list[float]]:
    """`rise` and `difference` (see `of_mixes`) of the theory and of the chord, at each of LAMBDAS.

    Args:
        margin: D.
        classes: K.
    """
    logits = np.array([mixed_logits(lam, margin, classes) for lam in LAMBDAS])
    a, b, other = logits.T / margin
    return {
        "rise": list((a + b) / 2 - other),
        "difference": list(a - b),
        "rise_chord": [0.5] * len(LAMBDAS),
        "difference_chord": [2 * lam - 1 for lam in LAMBDAS],
    }


def classes_of(network: dict) -> int:
    """K, of what `examined` gives."""
    return len(network["clean"]["predicted"])


def _of(network: str, *path: str) -> Value:
    """A number of what `examined` gives of a network."""

    def value(seed: Seed) -> float:
        place = seed[network][seed["number"]]
        for step in path:
            place = place[step]
        return place

    return value


def _off(network: str) -> tuple[Value, Value]:
    return _of(network, "mixes", "off_theory"), _of(network, "mixes", "off_chord")


def _differences(seed: Seed) -> list[tuple[float, float, float]]:
    """The difference as found, of the theory and of the chord, at each of NEAR."""
    network = seed["mixup"][seed["number"]]
    mixes = network["mixes"]
    expected = predicted(mixes["margin"], classes_of(network))
    kinds = mixes["difference"], expected["difference"], expected["difference_chord"]
    return [tuple(kind[LAMBDAS.index(lam)] for kind in kinds) for lam in NEAR]


def _over_chord(seed: Seed) -> float:
    """The difference over the chord's; the largest."""
    return max(found / chord for found, _, chord in _differences(seed))


def _worst_difference(seed: Seed) -> float:
    """Distance of the difference from the theory's, over that from the chord's; the largest."""
    return max(
        abs(found - theory) / max(abs(found - chord), 1e-12)
        for found, theory, chord in _differences(seed)
    )


def _under(network: str, measure: str, choose: Callable = min) -> Value:
    """Of the attacks the least, or what is chosen."""
    return lambda seed: choose(_of(network, "attacked", a, measure)(seed) for a in ATTACKS)


def _leap_ratio(seed: Seed) -> float:
    """Mixup's leap over that of standard training, the least over attacks."""
    return min(
        ratio(*(_of(n, "attacked", a, "leap_seen") for n in ("mixup", "st")))(seed)
        for a in ATTACKS
    )


def _fits(network: str) -> Condition:
    title = {"st": "ST", "mixup": "mixup", "mixup_mse": "squared error", "mixup_etf": "simplex"}
    what = f"accuracy on training points, {title[network]}"
    return Condition(what, _of(network, "clean", "accuracy"), ">=", 0.99)


def _taken(network: str, title: str) -> Condition:
    """The attacks succeed: they take at least half of the points."""
    accuracy = _under(network, "accuracy", max)
    return Condition(f"accuracy under attack, {title}", accuracy, "<=", 0.5)


_claim = functools.partial(claim, "13_mixup")
_FISHER = "Fisher et al., abstract"

CLAIMS = (
    _claim(
        "M1",
        "mixes of one class align with its row",
        "Mixes of one class point where the classifier's row does.",
        _FISHER,
        Condition(
            "cosine with the row, seen",
            _of("mixup", "mixes", "same_cos_seen"),
            ">=",
            0.95,
            _of("mixup", "mixes", "other_cos_seen"),
            neutral=1,
        ),
        premises=(_fits("mixup"),),
    ),
    _claim(
        "M2",
        "mixes of one class do not depend on lambda",
        "Features of mixes of one class do not depend on lambda.",
        "Fisher et al., unconstrained features",
        Condition(
            "range of the margin / its mean", _of("mixup", "mixes", "margin_range"), "<=", 0.10
        ),
        Condition(
            "share of the variance by lambda", _of("mixup", "mixes", "lambda_share"), "<=", 0.05
        ),
        premises=(_fits("mixup"),),
    ),
    _claim(
        "M3",
        "mixes of two classes lie in a channel",
        "Mixes of two classes lie nearer to where the theory says than to the chord of the class "
        "means.",
        _FISHER,
        Condition("off theory / off chord", ratio(*_off("mixup")), "<=", 1, neutral=1),
        premises=(_fits("mixup"),),
    ),
    _claim(
        "M4",
        "they stay near the decision boundary",
        "Mixes of two classes stay nearer to the decision boundary than their lambda, as near as "
        "the theory says.",
        _FISHER,
        Condition("difference / chord, λ .6 to .8", _over_chord, "<=", 1, neutral=1),
        Condition(
            "|difference − theory| / |difference − chord|, λ .6 to .8",
            _worst_difference,
            "<=",
            1,
            neutral=1,
        ),
        premises=(_fits("mixup"),),
    ),
    _claim(
        "M5",
        "under the squared error they are chords",
        "With the squared error mixes are convex combinations of the class means.",
        _FISHER,
        Condition(
            "off chord / off theory", ratio(*reversed(_off("mixup_mse"))), "<=", 1, neutral=1
        ),
        Condition(
            "|rise at λ = .5, less .5|",
            lambda seed: abs(_of("mixup_mse", "mixes", "rise")(seed)[0] - 0.5),
            "<=",
            0.1,
        ),
        premises=(_fits("mixup_mse"),),
    ),
    _claim(
        "M6",
        "a fixed simplex is nearer to the theory",
        "With the classifier fixed to a simplex features are nearer to theory, at no loss.",
        "Fisher et al., experiments",
        Condition(
            "off theory, fixed / free",
            ratio(_off("mixup_etf")[0], _off("mixup")[0]),
            "<=",
            1,
            neutral=1,
        ),
        Condition(
            "loss of test accuracy",
            less(
                _of("mixup", "reliability", "accuracy"),
                _of("mixup_etf", "reliability", "accuracy"),
            ),
            "<=",
            0.01,
        ),
        premises=(_fits("mixup"), _fits("mixup_etf")),
    ),
    _claim(
        "M7",
        "mixup improves calibration",
        "A mixup network is better calibrated than standard training.",
        "Zhang et al. (2018) and later work; explained by Fisher et al.",
        Condition(
            "ECE on test points, mixup / ST",
            ratio(_of("mixup", "reliability", "ece"), _of("st", "reliability", "ece")),
            "<=",
            1,
            neutral=1,
        ),
    ),
    _claim(
        "M8",
        "attacked points of mixup do not leap",
        "Attacks leave points of a mixup network in channels between two wrong classes.",
        "ours",
        Condition("leap seen, mixup / ST, least over attacks", _leap_ratio, ">=", 2, neutral=1),
        Condition(
            "share between two wrong classes, least over attacks",
            _under("mixup", "between_wrong"),
            ">=",
            0.5,
            _under("st", "between_wrong", max),
        ),
        premises=(_taken("mixup", "mixup"), _taken("st", "ST")),
    ),
    _claim(
        "M9",
        f"mixup makes networks more robust, at {ROBUST}/255",
        "A mixup network is more accurate under attack than standard training.",
        "Zhang et al. (2018)",
        *(
            Condition(
                f"accuracy under PGD, ε {ROBUST}, {part}: mixup − ST",
                less(_of("mixup", "robust", part, "pgd"), _of("st", "robust", part, "pgd")),
                ">=",
                0,
                constant(0.0),
            )
            for part in ("train", "test")
        ),
    ),
    _claim(
        "M10",
        "unmixed points collapse less",
        "Unmixed points of a mixup network collapse less than those of ST at equal epochs.",
        "ours",
        Condition(
            "NC1, mixup / ST",
            ratio(_of("mixup", "clean", "collapse", "nc1"), _of("st", "clean", "collapse", "nc1")),
            ">=",
            1,
            neutral=1,
        ),
        premises=(_fits("mixup"), _fits("st")),
    ),
)
