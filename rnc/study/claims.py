"""The paper's twelve claims as testable statements, and their verdicts from measured values.

A claim holds when all of its conditions hold at every seed. Bounds say in numbers what the
claims say in words; they are the same for every method, data set and scale:

- Collapse is *there* when, in an average direction, the variance within classes is at most a
  tenth of that between them (NC1/(K - 1) <= 0.1), norms and cosines of the class means are within
  0.1 of a simplex, the classifier has a cosine of 0.9 with the means (NC3 <= 0.2), and the
  nearest class centre disagrees with the network on at most 1 % of the points.
- It is *gone* when the variance within is as large as between (NC1/(K - 1) >= 1), or cosines are
  off by twice the bound (0.2).
- A mean is *at* a vertex when it is within a quarter of the angle between two vertices.
- A curve has *converged* when it changes by at most a tenth over its last tenth.
- Two accuracies are *the same* within five points; nothing is lost within one.
- Predicted labels are *far from uniform* when a tenth of the points would have to move.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rnc.study.methods import AT, ST, TRADES, TRADES_FROZEN, Method
from rnc.study.record import NotMeasured, Record
from rnc.study.records import Records

HOLDS, FAILS, OPEN = "holds", "does not hold here", "not measured"

Seed = dict[str, Record]  # by title of the method, the records of one seed


@dataclass(frozen=True)
class Condition:
    """A measured value and its bound."""

    what: str
    value: Callable[[Seed], float]
    relation: str  # "<=" or ">="
    bound: float

    def holds(self, value: float) -> bool:
        # nan, a value that could not be formed, satisfies no bound
        return {"<=": operator.le, ">=": operator.ge}[self.relation](value, self.bound)

    def __str__(self) -> str:
        return f"{self.what} {'≤' if self.relation == '<=' else '≥'} {self.bound:g}"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: what it says, where it is tested, and by which conditions."""

    id: str
    statement: str
    chapter: str
    needs: tuple[Method, ...]
    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class Verdict:
    """A claim with the values of its conditions, conditions x seeds; no seeds: not measured."""

    claim: Claim
    values: np.ndarray

    @property
    def holds(self) -> list[bool]:
        """For each condition, whether it holds at every seed."""
        pairs = zip(self.claim.conditions, self.values, strict=True)
        return [all(condition.holds(value) for value in row) for condition, row in pairs]

    @property
    def verdict(self) -> str:
        if not self.values.size:
            return OPEN
        return HOLDS if all(self.holds) else FAILS

    @property
    def at_seeds(self) -> str:
        """The verdict, and where seeds disagree at how many of them the claim holds."""
        holds = [
            all(c.holds(v) for c, v in zip(self.claim.conditions, column, strict=True))
            for column in self.values.T
        ]
        some = f" ({sum(holds)} of {len(holds)} seeds)" if len(set(holds)) > 1 else ""
        return self.verdict + some

    def measured(self) -> list[str]:
        """For each condition its value, mean ± standard deviation over seeds."""
        return [
            "–"
            if not len(row)
            else f"{row[0]:.3g}"
            if len(row) == 1
            else f"{row.mean():.3g} ± {row.std(ddof=1):.2g}"
            for row in self.values
        ]

    def details(self) -> str:
        """The verdict with a line for each test."""
        tests = zip(self.claim.conditions, self.measured(), strict=True)
        first = f"{self.claim.id}  {self.verdict.upper()}  {self.claim.statement}"
        return "\n".join([first, *(f"        {test}: {value}" for test, value in tests)])

    def __str__(self) -> str:
        return f"{self.claim.id} {self.verdict}"


def judge(records: Records, *ids: str) -> list[Verdict]:
    """The verdicts of some claims.

    Args:
        records: by title of the method, as `rnc.records` gives them; a claim is judged by those
            seeds that have all networks and measurements it needs.
        ids: claims, such as "C1"; none given: all of them.

    Raises:
        ValueError: there is no such claim.
    """
    known = [claim.id for claim in CLAIMS]
    if unknown := [name for name in ids if name not in known]:
        raise ValueError(f"there is no claim {unknown[0]!r}; there are {', '.join(known)}")
    seeds: dict[int, Seed] = {}
    for title, found in records.items():
        for record in found:
            seeds.setdefault(record.training.seed, {})[title] = record
    verdicts = []
    for claim in (claim for claim in CLAIMS if not ids or claim.id in ids):
        columns = [column for seed in seeds.values() if (column := _values(claim, seed))]
        values = np.array(columns, float).reshape(-1, len(claim.conditions)).T
        verdicts.append(Verdict(claim, values))
    return verdicts


def _values(claim: Claim, seed: Seed) -> list[float] | None:
    """Of its conditions; None where a network or a measurement is not there."""
    if any(method.title not in seed for method in claim.needs):
        return None
    try:
        return [condition.value(seed) for condition in claim.conditions]
    except NotMeasured:
        return None


# Values from records ------------------------------------------------------------------------


def _end(method: Method, points: str, measure: str) -> Callable[[Seed], float]:
    """The last value of a measure on clean, pgd, gauss or targeted points."""
    return lambda seed: seed[method.title].end(points, measure)


def _angle(method: Method, name: str) -> Callable[[Seed], float]:
    """A mean angle at the end, as a share of the angle between two vertices."""
    return lambda seed: seed[method.title].angle(name) / seed[method.title].vertex_angle


def _spread(method: Method, points: str) -> Callable[[Seed], float]:
    """NC1/(K - 1): variance within classes over variance between, mean over directions."""
    return lambda seed: (
        seed[method.title].end(points, "nc1") / (seed[method.title].num_classes - 1)
    )


def _ratio(measure: str, *of: tuple[Method, str]) -> Callable[[Seed], float]:
    """Of a measure at the end, for two methods with points, of the first to the second."""
    above, below = (_end(method, points, measure) for method, points in of)
    return lambda seed: _quotient(above(seed), below(seed))


def _quotient(a: float, b: float) -> float:
    """nan where it cannot be formed, as for a network without any variance."""
    return a / b if b else float("nan")


def _less(a: Callable[[Seed], float], b: Callable[[Seed], float]) -> Callable[[Seed], float]:
    return lambda seed: a(seed) - b(seed)


def _there(method: Method, points: str) -> tuple[Condition, ...]:
    named = f"{method.title} {points}:"
    return (
        Condition(f"{named} NC1/(K−1)", _spread(method, points), "<=", 0.1),
        Condition(f"{named} NC2 norms", _end(method, points, "nc2_norms"), "<=", 0.1),
        Condition(f"{named} NC2 angles", _end(method, points, "nc2_angles"), "<=", 0.1),
        Condition(f"{named} NC3", _end(method, points, "nc3"), "<=", 0.2),
        Condition(f"{named} NC4", _end(method, points, "nc4"), "<=", 0.01),
    )


def _no_simplex(method: Method) -> tuple[Condition, ...]:
    name = method.title
    return (
        Condition(f"{name}: last change of the loss", _settled(method, "loss"), "<=", 0.1),
        Condition(f"{name}: last change of accuracy", _settled(method, "accuracy"), "<=", 0.1),
        Condition(f"{name} clean: NC2 angles", _end(method, "clean", "nc2_angles"), ">=", 0.2),
        Condition(f"{name} pgd: NC2 angles", _end(method, "pgd", "nc2_angles"), ">=", 0.2),
    )


def _settled(method: Method, measure: str) -> Callable[[Seed], float]:
    """Relative change of a training curve from its last tenth but one to its last tenth."""

    def change(seed: Seed) -> float:
        curve = seed[method.title].history(measure)
        tenth = max(1, len(curve) // 10)
        if len(curve) < 2 or not curve[-2 * tenth : -tenth].any():
            return float("nan")
        before, end = curve[-2 * tenth : -tenth].mean(), curve[-tenth:].mean()
        return abs(end - before) / before

    return change


def _away_from_uniform(seed: Seed) -> float:
    """The share of points that would have to move for equal counts (total variation)."""
    counts = seed[ST.title].per_class("predicted_counts")
    return float(abs(counts - counts.mean()).sum() / 2 / counts.sum())


def _ncc_gap(seed: Seed) -> float:
    return abs(_less(_end(AT, "pgd", "accuracy"), _end(AT, "pgd", "ncc_accuracy"))(seed))


def _depth_correlation(seed: Seed) -> float:
    """Spearman's rank correlation of depth with NC1 on clean points."""
    from scipy.stats import spearmanr  # here, since it takes as long to import as all the rest

    nc1 = seed[ST.title].layer_curve("clean", "nc1")
    if np.isnan(nc1).any() or not np.ptp(nc1):
        return float("nan")
    return float(spearmanr(np.arange(len(nc1)), nc1).statistic)


def _ncc_kept(layer: int) -> Callable[[Seed], float]:
    """The share of a layer's clean NCC accuracy that is left under attack."""

    def share(seed: Seed) -> float:
        clean, pgd = (
            seed[ST.title].layer_curve(points, "ncc_accuracy")[layer]
            for points in ("clean", "pgd")
        )
        return _quotient(pgd, clean)

    return share


CLAIMS = (
    Claim(
        "C1",
        "Standard training ends in neural collapse, NC1 to NC4, on clean points.",
        "02_standard_training",
        (ST,),
        _there(ST, "clean"),
    ),
    Claim(
        "C2",
        "Gaussian noise of the attack's size leaves the collapse of ST nearly intact.",
        "02_standard_training",
        (ST,),
        (
            Condition(
                "NC1 with noise / NC1 clean",
                _ratio("nc1", (ST, "gauss"), (ST, "clean")),
                "<=",
                2,
            ),
            Condition(
                "accuracy lost to noise",
                _less(_end(ST, "clean", "accuracy"), _end(ST, "gauss", "accuracy")),
                "<=",
                0.01,
            ),
            Condition("ST gauss: NC2 angles", _end(ST, "gauss", "nc2_angles"), "<=", 0.1),
        ),
    ),
    Claim(
        "C3",
        "Under PGD neither variability collapse nor a simplex remains of ST.",
        "03_attacks",
        (ST,),
        (
            Condition("ST pgd: NC1/(K−1)", _spread(ST, "pgd"), ">=", 1),
            Condition("ST pgd: NC2 angles", _end(ST, "pgd", "nc2_angles"), ">=", 0.2),
        ),
    ),
    Claim(
        "C4",
        "Attacked points of ST leap: the mean of the points predicted as a class stays at the "
        "clean vertex of that class.",
        "03_attacks",
        (ST,),
        (Condition("leap angle / angle between vertices", _angle(ST, "leap"), "<=", 0.25),),
    ),
    Claim(
        "C5",
        "Targeted attacks send class means to the target's vertex, at a larger angle than "
        "untargeted ones.",
        "03_attacks",
        (ST,),
        (
            Condition(
                "targeted angle / angle between vertices",
                _angle(ST, "targeted_angle"),
                "<=",
                0.25,
            ),
            Condition(
                "the same, less that of the leap",
                _less(_angle(ST, "targeted_angle"), _angle(ST, "leap")),
                ">=",
                0,
            ),
        ),
    ),
    Claim(
        "C6",
        "Untargeted attacks prefer some classes: predicted labels are far from uniform.",
        "03_attacks",
        (ST,),
        (Condition("share of points away from uniform", _away_from_uniform, ">=", 0.1),),
    ),
    Claim(
        "C7",
        "Adversarial training ends in neural collapse on clean and on attacked points.",
        "04_adversarial_training",
        (AT,),
        _there(AT, "clean") + _there(AT, "pgd"),
    ),
    Claim(
        "C8",
        "The clean and the attacked simplex of AT are aligned.",
        "04_adversarial_training",
        (AT,),
        (
            Condition(
                "alignment angle / angle between vertices", _angle(AT, "alignment"), "<=", 0.25
            ),
        ),
    ),
    Claim(
        "C9",
        "AT keeps a higher variance within classes than ST.",
        "04_adversarial_training",
        (ST, AT),
        (
            Condition(
                "Tr Σ_W of AT / of ST, clean",
                _ratio("within", (AT, "clean"), (ST, "clean")),
                ">=",
                1,
            ),
            Condition(
                "NC1 of AT / of ST, clean",
                _ratio("nc1", (AT, "clean"), (ST, "clean")),
                ">=",
                1,
            ),
        ),
    ),
    Claim(
        "C10",
        "The nearest-class-centre classifier of AT is as robust as the network.",
        "04_adversarial_training",
        (AT,),
        (Condition("|robust accuracy: network − NCC|", _ncc_gap, "<=", 0.05),),
    ),
    Claim(
        "C11",
        "TRADES forms no simplices, although loss and accuracy converge.",
        "05_trades",
        (TRADES,),
        _no_simplex(TRADES),
    ),
    Claim(
        "C11f",
        "The same of TRADES as the reference code runs it, with BatchNorm frozen.",
        "05_trades",
        (TRADES_FROZEN,),
        _no_simplex(TRADES_FROZEN),
    ),
    Claim(
        "C12",
        "Collapse grows with depth on clean points; under attack early layers of ST keep a "
        "reliable NCC classifier and late layers lose it.",
        "06_layerwise",
        (ST,),
        (
            Condition("rank correlation of depth and clean NC1", _depth_correlation, "<=", -0.8),
            Condition("share of NCC accuracy kept, first layer", _ncc_kept(0), ">=", 0.5),
            Condition("share of NCC accuracy kept, last layer", _ncc_kept(-1), "<=", 0.1),
        ),
    ),
)
