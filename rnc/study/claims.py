"""The paper's claims as testable statements, and the answers that measured values give.

A claim's conditions follow its words, each with a bound and, where one can be formed, a null: the
value that chance gives at the same numbers of points, classes and features. What a claim takes for
granted are its premises; where one fails, the claim is not applicable. Bounds say in numbers what
the claims say in words; they are the same for every method, data set and scale:

- Collapse is *there* when, in an average direction, the variance within classes is at most a
  tenth of that between them (NC1/(K - 1) <= 0.1), norms and cosines of the class means and of the
  classifier's rows are within 0.1 of a simplex, classifier and means have a cosine of 0.9
  (NC3 <= 0.2), and the nearest class centre disagrees with the network on at most 1 % of the
  points.
- It is *gone* when the variance within is as large as between (NC1/(K - 1) >= 1), or cosines are
  off by twice the bound (0.2).
- An attack has *succeeded* when it takes at least half of the points.
- Means are *at* vertices when, averaged over classes, they are within a quarter of the angle
  between two vertices, and as long as the vertex within a quarter.
- Points *gather* there when the variance within groups of one label is at most that between them,
  and at most half of what scatter gives, in all directions or in the span of the means.
- A training has *converged* when its loss is at most a hundredth of that of guessing, log K, and
  it is right on 99 of 100 of its own points, perturbed where it perturbs them.
- Two accuracies, or two cosines, are *the same* within five points or 0.05; nothing is lost within
  one point. A classifier is *reliable* from one half on.
- Predicted labels are *far from uniform* when a tenth of the points would have to move, and more
  than in 99 of 100 draws of uniform labels.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rnc.study import nulls
from rnc.study.methods import AT, ST, TRADES, TRADES_FROZEN, Method
from rnc.study.record import NotMeasured, Record, mean
from rnc.study.records import Records

HOLDS, PARTLY, FAILS = "holds", "partly", "does not hold here"
NOT_APPLICABLE, OPEN = "not applicable", "not measured"
SIGNS = {HOLDS: "✓", PARTLY: "◐", FAILS: "✗", NOT_APPLICABLE: "○", OPEN: "–"}

Seed = dict[str, Record]  # by title of the method, the records of one seed
Value = Callable[[Seed], float]


@dataclass(frozen=True)
class Condition:
    """A measured value and its bound.

    Attributes:
        what: in words.
        value: of a seed; nan where it cannot be formed, which satisfies no bound.
        relation: "<=" or ">=".
        bound: chosen before values were looked at.
        neutral: what halving and doubling reckon a bound from: 0 of what is to be small or large,
            1 of a ratio that is to stay near it or go beyond, and of a cosine, whose best it is.
        best: the best value there is, such as -1 of a correlation; no multiple of the bound goes
            beyond it. None where it is never reached.
        null: the value that chance gives, or what the claim sets itself off from; a value must be
            better than it too. None where there is no such.
        against: what the null is of, in words.
        at: of a count of other tests, the same count with their bounds multiplied by a factor;
            its own bound is not.
    """

    what: str
    value: Value
    relation: str
    bound: float
    null: Value | None = None
    against: str = "chance"
    neutral: float = 0.0
    best: float | None = None
    at: Callable[[float], Condition] | None = None

    def holds(self, value: float, null: float = math.nan, factor: float = 1.0) -> bool:
        """Whether a value is within the bound, or a multiple of it, and better than its null."""
        within = {"<=": operator.le, ">=": operator.ge}[self.relation](
            value, self.bound_at(factor)
        )
        return within and (math.isnan(null) or self.better(value, null))

    def chance(self, seed: Seed) -> float:
        """The null at a seed; nan where there is none."""
        return self.null(seed) if self.null else math.nan

    def bound_at(self, factor: float) -> float:
        """A multiple of the bound, from the neutral value; of a count the bound itself."""
        if self.at:
            return self.bound
        bound = self.neutral + factor * (self.bound - self.neutral)
        if self.best is None:
            return bound
        return {"<=": max, ">=": min}[self.relation](bound, self.best)

    def strain(self, value: float) -> float:
        """A value as a multiple of the bound that is above 1 where it fails, both reckoned from
        the neutral value; nan where they cannot be compared so, as for a bound of 0."""
        bound, value = self.bound - self.neutral, value - self.neutral
        if not bound or math.isnan(value):
            return math.nan
        share = max(value / bound, 0.0)
        if (self.relation == "<=") == (bound > 0):
            return share
        return 1 / share if share else math.inf

    def better(self, value: float, null: float) -> bool:
        """Whether a value is further in the claim's direction than its null."""
        return {"<=": operator.lt, ">=": operator.gt}[self.relation](value, null)

    def __str__(self) -> str:
        return f"{self.what} {'≤' if self.relation == '<=' else '≥'} {self.bound:g}"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        id, title, statement: its number here, a few words, and what it says.
        source: where the paper says it.
        chapter: in which it is tested.
        needs: methods whose networks it is about.
        conditions: it holds where they do.
        premises: what it takes for granted; where one does not hold it is not applicable.
    """

    id: str
    title: str
    statement: str
    source: str
    chapter: str
    needs: tuple[Method, ...]
    conditions: tuple[Condition, ...]
    premises: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """A claim with its values at the seeds that have all networks and measurements it needs.

    Attributes:
        claim: the claim.
        values, nulls: conditions x seeds; nan where there is no null.
        premises: values of the premises x seeds.
        seeds: that the values are of.
    """

    claim: Claim
    values: np.ndarray
    nulls: np.ndarray
    premises: np.ndarray
    seeds: tuple[Seed, ...] = ()

    @property
    def applicable(self) -> np.ndarray:
        """For each seed, whether all premises hold."""
        return self._premises_held().all(0)

    @property
    def count(self) -> int:
        """The number of seeds that the answer is of: those that the claim applies to, or else all
        that were measured."""
        return int(self.applicable.sum()) or self.values.shape[1]

    def held(self, factor: float = 1.0) -> np.ndarray:
        """For each condition and each seed that the claim applies to, whether it holds; with
        another factor, at such a multiple of every bound."""
        return self._met(factor)[:, self.applicable]

    def meets(self, number: int, factor: float = 1.0) -> bool:
        """Whether a condition holds at every seed, whether the claim applies or not."""
        return all(self.met_at(number, factor=factor))

    def met_at(self, *numbers: int, factor: float = 1.0) -> list[bool]:
        """For each seed, whether some conditions hold there, or all where none are named."""
        return self._met(factor)[list(numbers) or slice(None)].all(0).tolist()

    def _met(self, factor: float = 1.0) -> np.ndarray:
        met = []
        for c, values, null in zip(self.claim.conditions, self.values, self.nulls, strict=True):
            if c.at and factor != 1:
                scaled = c.at(factor)
                values, null = map(scaled.value, self.seeds), map(scaled.chance, self.seeds)
            met.append([c.holds(v, n, factor) for v, n in zip(values, null, strict=True)])
        return np.array(met, bool).reshape(self.values.shape)

    def answer(self, factor: float = 1.0) -> str:
        """Holds where all conditions do at all seeds, does not where none does at any, and else
        partly."""
        if not self.values.shape[1]:
            return OPEN
        if not self.applicable.any():
            return NOT_APPLICABLE
        held = self.held(factor)
        return HOLDS if held.all() else PARTLY if held.any() else FAILS

    @property
    def scalable(self) -> bool:
        """Whether a bound changes when all are halved; those that ask for a sign do not."""
        return any(c.at or c.bound_at(0.5) != c.bound for c in self.claim.conditions)

    @property
    def verdict(self) -> str:
        """The answer at the bounds as they were chosen."""
        return self.answer()

    @property
    def sign(self) -> str:
        """Of the verdict; in brackets where a single seed stands behind it."""
        sign = SIGNS[self.verdict]
        return f"({sign})" if self.values.shape[1] == 1 else sign

    @property
    def at_seeds(self) -> str:
        """The verdict with the number of seeds behind it."""
        count = self.values.shape[1]
        if not count:
            return OPEN
        seeds, applies = f"{count} seed{'s' * (count > 1)}", int(self.applicable.sum())
        if 0 < applies < count:
            seeds = f"{applies} of {seeds}, not applicable at the others"
        if self.verdict == PARTLY and (full := int(self.held().all(0).sum())):
            seeds = f"all tests at {full} of {seeds}"
        return f"{self.verdict} ({seeds})"

    def direction(self, number: int) -> str:
        """Of a condition that fails at a seed, whether its values lie in the claim's direction all
        the same, on its side of what chance gives; nothing where chance has no value."""
        values, null = (table[number][self.applicable] for table in (self.values, self.nulls))
        if self.held()[number].all() or np.isnan(null).any():
            return ""
        better = map(self.claim.conditions[number].better, values, null)
        return ("" if all(better) else "not past chance ") + "in the claim's direction"

    def failing_premises(self) -> list[str]:
        """Those that do not hold at some seed."""
        return [premise for premise, held in self.premises_held() if not held]

    def premises_held(self) -> list[tuple[str, bool]]:
        """Each premise, and whether it holds at every seed."""
        pairs = zip(self.claim.premises, self._premises_held(), strict=True)
        return [(str(premise), bool(row.all())) for premise, row in pairs]

    def _premises_held(self) -> np.ndarray:
        rows = zip(self.claim.premises, self.premises, strict=True)
        held = [[premise.holds(value) for value in row] for premise, row in rows]
        return np.array(held, bool).reshape(self.premises.shape)

    def measured(self) -> list[str]:
        """For each condition its value, mean ± standard deviation over the seeds that the claim
        applies to, or over all if there are none."""
        applies = self.applicable
        return [
            _spoken(row) for row in (self.values[:, applies] if applies.any() else self.values)
        ]

    def by_chance(self) -> list[str]:
        """For each condition its null, mean over seeds."""
        return [
            "–" if not len(row) or np.isnan(row).all() else f"{np.nanmean(row):.3g}"
            for row in self.nulls
        ]

    def details(self) -> str:
        """The verdict with a line for each test."""
        lines = [f"{self.claim.id}  {self.at_seeds.upper()}  {self.claim.statement}"]
        tests = zip(self.claim.conditions, self.measured(), self.by_chance(), strict=True)
        lines += [
            f"        {test}: {value} ({test.against} {null})" for test, value, null in tests
        ]
        lines += [f"        takes for granted, but not so: {p}" for p in self.failing_premises()]
        return "\n".join(lines)

    def __str__(self) -> str:
        return f"{self.claim.id} {self.verdict}"


def _spoken(row: np.ndarray) -> str:
    if not len(row):
        return "–"
    return f"{row[0]:.3g}" if len(row) == 1 else f"{row.mean():.3g} ± {row.std(ddof=1):.2g}"


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
    seeds = by_seed(records)
    return [judge_seeds(claim, seeds) for claim in CLAIMS if not ids or claim.id in ids]


def judge_seeds(claim: Claim, seeds: list[Seed]) -> Verdict:
    """The verdict of one claim, from records by seed."""
    found = [(seed, column) for seed in seeds if (column := _column(claim, seed))]
    rows = [len(claim.conditions), len(claim.conditions), len(claim.premises)]
    table = np.array([column for _, column in found], float).reshape(-1, sum(rows)).T
    parts = np.split(table, np.cumsum(rows)[:-1])
    return Verdict(claim, *parts, seeds=tuple(seed for seed, _ in found))


def by_seed(records: Records) -> list[Seed]:
    """Records by title of the method as those of each seed, by title."""
    seeds: dict[int, Seed] = {}
    for title, found in records.items():
        for record in found:
            seeds.setdefault(record.training.seed, {})[title] = record
    return list(seeds.values())


def _column(claim: Claim, seed: Seed) -> list[float] | None:
    """Values, nulls and premises; None where a network or a measurement is not there."""
    if any(method.title not in seed for method in claim.needs):
        return None
    try:
        return [
            *(condition.value(seed) for condition in claim.conditions),
            *(condition.chance(seed) for condition in claim.conditions),
            *(premise.value(seed) for premise in claim.premises),
        ]
    except NotMeasured:
        return None


# Values from values --------------------------------------------------------------------------


def ratio(above: Value, below: Value) -> Value:
    """nan where it cannot be formed, as for a network without any variance."""
    return lambda seed: above(seed) / below(seed) if below(seed) else math.nan


def less(a: Value, b: Value) -> Value:
    return lambda seed: a(seed) - b(seed)


def constant(value: float) -> Value:
    return lambda seed: value


# Values from records ------------------------------------------------------------------------


def _end(method: Method, points: str, measure: str) -> Value:
    """The last value of a measure on clean, pgd, gauss or targeted points."""
    return lambda seed: seed[method.title].end(points, measure)


def _angle(method: Method, name: str) -> Value:
    """A mean angle at the end, as a share of the angle between two vertices."""
    return lambda seed: seed[method.title].angle(name) / seed[method.title].vertex_angle


def _right_angle(method: Method) -> Value:
    """Between directions that know nothing of each other, as such a share."""
    return lambda seed: math.pi / 2 / seed[method.title].vertex_angle


def _spread(method: Method, points: str) -> Value:
    """NC1/(K - 1): variance within classes over variance between, mean over directions."""
    return lambda seed: (
        seed[method.title].end(points, "nc1") / (seed[method.title].num_classes - 1)
    )


def _of_ends(measure: str, *of: tuple[Method, str]) -> Value:
    """Of a measure at the end, for two methods with points, of the first to the second."""
    return ratio(*(_end(method, points, measure) for method, points in of))


def _angles_less_clean(points: str) -> Value:
    return less(_end(ST, points, "nc2_angles"), _end(ST, "clean", "nc2_angles"))


def _apart(a: Value, b: Value) -> Value:
    return lambda seed: abs(a(seed) - b(seed))


def _guessing(method: Method) -> Value:
    """The accuracy of guessing."""
    return lambda seed: 1 / seed[method.title].num_classes


def _attacked(points: str, classifier: str) -> Value:
    """Accuracy of AT's network or of its NCC classifier, attacked itself."""
    return lambda seed: seed[AT.title].attacked(points, classifier)


# Leaping


def _changed(group: str, name: str) -> Value:
    """Mean over classes of angle, length or nc1 of ST's points whose label changed."""
    return lambda seed: mean(seed[ST.title].changed(group, name))


def _changed_angle(group: str) -> Value:
    """As a share of the angle between two vertices."""
    angle = _changed(group, "angle")
    return lambda seed: angle(seed) / seed[ST.title].vertex_angle


def _off_length(group: str) -> Value:
    """How far the groups' means are from being as long as the vertices, mean over classes."""
    return lambda seed: mean(abs(seed[ST.title].changed(group, "length") - 1))


def scattered_nc1(seed: Seed) -> float:
    """NC1 by predicted label of as many points as changed theirs that scatter, in all directions
    or in the span of the clean means: the lower of the two."""
    return float(np.fmin(*(_changed(of, "nc1")(seed) for of in ("scatter", "scatter_in_span"))))


def _as_many_scattered(group: str) -> Value:
    """NC1 by predicted label of as many points that scatter in the span of the clean means."""

    def value(seed: Seed) -> float:
        points, classes, _ = _count(ST, seed)
        return nulls.scattered(round(points * _changed(group, "share")(seed)), classes)

    return value


def _away_from_uniform(seed: Seed) -> float:
    """The share of points that would have to move for equal counts (total variation)."""
    counts = seed[ST.title].per_class("predicted_counts")
    return float(abs(counts - counts.mean()).sum() / 2 / counts.sum())


# Layers


def _depth_correlation(seed: Seed) -> float:
    """Spearman's rank correlation of depth with NC1 on clean points."""
    from scipy.stats import spearmanr  # here, since it takes as long to import as all the rest

    nc1 = seed[ST.title].layer_curve("clean", "nc1")
    if np.isnan(nc1).any() or not np.ptp(nc1):
        return float("nan")
    return float(spearmanr(np.arange(len(nc1)), nc1).statistic)


def _at_layer(layer: int, points: str, measure: str) -> Value:
    return lambda seed: float(seed[ST.title].layer_curve(points, measure)[layer])


def _unlearnt(layer: int, points: str) -> Value:
    """NCC accuracy of the same layer before the training, or of the pixels, whichever is more."""
    return lambda seed: max(
        float(seed[ST.title].untrained(points)[layer]), seed[ST.title].pixels(points)
    )


# Nulls


def _count(method: Method, seed: Seed) -> tuple[int, int, int]:
    """N points measured, K classes, D features."""
    record = seed[method.title]
    points = int(record.per_class("predicted_counts").sum())
    return points, record.num_classes, record.training.num_features


def _null_nc1(method: Method) -> Value:
    return lambda seed: nulls.nc1(*_count(method, seed))


def _null_nc2(method: Method, which: int) -> Value:
    return lambda seed: nulls.nc2(*_count(method, seed)[1:])[which]


def _null_nc4(method: Method) -> Value:
    return lambda seed: nulls.nc4(seed[method.title].num_classes)


# Conditions that several claims share --------------------------------------------------------

ERASED = "classes erased"  # by noise, of features and guesses
CONVERGED = 0.01  # the loss that is left, of that of guessing
POINTS = {"clean": "clean points", "pgd": "attacked points"}  # to readers


def _small_nc1(method: Method, points: str) -> Condition:
    what = f"{method.title}, {POINTS[points]}: NC1/(K−1)"
    return Condition(what, _spread(method, points), "<=", 0.1, _null_nc1(method))


def collapse_tests(method: Method, points: str) -> tuple[Condition, ...]:
    """Whether the features of some points are collapsed, in the order of NC1 to NC4."""
    named, end = f"{method.title}, {POINTS[points]}:", functools.partial(_end, method, points)
    norms, angles = (_null_nc2(method, i) for i in (0, 1))
    return (
        _small_nc1(method, points),
        Condition(f"{named} NC2 norms", end("nc2_norms"), "<=", 0.1, norms),
        Condition(f"{named} NC2 angles", end("nc2_angles"), "<=", 0.1, angles),
        Condition(f"{named} NC3", end("nc3"), "<=", 0.2, constant(nulls.NC3)),
        Condition(f"{named} NC4", end("nc4"), "<=", 0.01, _null_nc4(method)),
    )


def _classifier_there(method: Method) -> tuple[Condition, ...]:
    """The classifier's half of NC2."""
    named, end = f"{method.title}, classifier:", functools.partial(_end, method, "clean")
    norms, angles = (_null_nc2(method, i) for i in (0, 1))
    return (
        Condition(f"{named} NC2 norms", end("nc2_norms_w"), "<=", 0.1, norms),
        Condition(f"{named} NC2 angles", end("nc2_angles_w"), "<=", 0.1, angles),
    )


def _nc1_over_clean(method: Method, points: str) -> Value:
    return _of_ends("nc1", (method, points), (method, "clean"))


def _nc1_with_noise(method: Method, bound: float, null: Value, against: str) -> Condition:
    value = _nc1_over_clean(method, "gauss")
    return Condition("NC1 with noise / NC1 clean", value, "<=", bound, null, against, neutral=1)


def _lost(method: Method, points: str) -> Value:
    return less(_end(method, "clean", "accuracy"), _end(method, points, "accuracy"))


def _lost_to_noise(method: Method, null: Value, against: str) -> Condition:
    value = _lost(method, "gauss")
    return Condition("accuracy lost to noise", value, "<=", 0.01, null, against)


def _attack_succeeds(method: Method) -> Condition:
    value = _of_ends("accuracy", (method, "pgd"), (method, "clean"))
    return Condition(f"{method.title}: share of accuracy left by the attack", value, "<=", 0.5)


def are_met(tests: tuple[Condition, ...], seed: Seed, factor: float = 1.0) -> list[bool]:
    return [test.holds(test.value(seed), test.chance(seed), factor) for test in tests]


def _collapse_there(method: Method) -> Condition:
    """There is something that a perturbation could break or leave."""
    tests = collapse_tests(method, "clean")
    return Condition(
        f"{method.title}, clean points: tests of collapse within their bounds",
        lambda seed: sum(test.holds(test.value(seed)) for test in tests),
        ">=",
        len(tests),
    )


def _no_simplex(method: Method) -> tuple[Condition, ...]:
    """Of the five tests of collapse one at least fails; and one that AT meets, since what AT
    misses too sets nothing apart. If the two differed by luck alone, AT would miss as many that
    the other meets: that is the null."""

    def missed(points: str, factor: float) -> Value:
        return lambda seed: are_met(collapse_tests(method, points), seed, factor).count(False)

    def missed_alone(by: Method, other: Method, points: str, factor: float) -> Value:
        def value(seed: Seed) -> float:
            met, others = (are_met(collapse_tests(of, points), seed, factor) for of in (by, other))
            return sum(theirs and not ours for ours, theirs in zip(met, others, strict=True))

        return value

    def count(points: str, alone: bool, factor: float = 1.0) -> Condition:
        what = "not met that AT meets" if alone else "not met"
        return Condition(
            f"{method.title}, {POINTS[points]}: tests of collapse {what}",
            missed_alone(method, AT, points, factor) if alone else missed(points, factor),
            ">=",
            1,
            missed_alone(AT, method, points, factor) if alone else None,
            "the other way round",
            at=functools.partial(count, points, alone),
        )

    return tuple(count(points, alone) for points in ("clean", "pgd") for alone in (False, True))


def _converged(method: Method) -> tuple[Condition, ...]:
    """The loss that the training minimises, divergence included, is down to a floor."""

    def of_guessing(seed: Seed) -> float:
        return seed[method.title].loss_left

    def accuracy(seed: Seed) -> float:
        return seed[method.title].last_tenth("accuracy")

    return (
        Condition(f"{method.title}: loss / loss of guessing", of_guessing, "<=", CONVERGED),
        Condition(f"{method.title}: accuracy on its own points", accuracy, ">=", 0.99),
    )


_AT_COLLAPSES = collapse_tests(AT, "clean") + collapse_tests(AT, "pgd") + _classifier_there(AT)

CLAIMS = (
    Claim(
        "C1",
        "ST collapses",
        "Standard training ends in neural collapse, NC1 to NC4, on clean points.",
        "figure 2, left",
        "02_standard_training",
        (ST,),
        collapse_tests(ST, "clean") + _classifier_there(ST),
        _converged(ST),
    ),
    Claim(
        "C2",
        "noise is harmless to ST",
        "Gaussian noise of the attack's size leaves the collapse of ST nearly intact.",
        "figure 2, left",
        "02_standard_training",
        (ST,),
        (
            _nc1_with_noise(ST, 2, _nc1_over_clean(ST, "pgd"), "the attack"),
            _lost_to_noise(ST, _lost(ST, "pgd"), "the attack"),
            Condition(
                "NC2 angles: with noise less clean",
                _angles_less_clean("gauss"),
                "<=",
                0.05,
                _angles_less_clean("pgd"),
                "the attack",
            ),
        ),
        (_collapse_there(ST),),
    ),
    Claim(
        "C3",
        "attacks break the collapse of ST",
        "Under PGD neither variability collapse nor a simplex remains of ST.",
        "figures 1 and 2, left",
        "03_attacks",
        (ST,),
        (
            Condition(
                "ST, attacked points: NC1/(K−1)",
                _spread(ST, "pgd"),
                ">=",
                1,
                _spread(ST, "gauss"),
                "noise",
            ),
            Condition(
                "ST, attacked points: NC2 angles",
                _end(ST, "pgd", "nc2_angles"),
                ">=",
                0.2,
                _end(ST, "gauss", "nc2_angles"),
                "noise",
            ),
        ),
        (_collapse_there(ST), _attack_succeeds(ST)),
    ),
    Claim(
        "C4",
        "attacked points leap",
        "Attacked points of ST leap: those that get another label gather at the clean vertex of "
        "that label.",
        "figures 3 and 4, left",
        "03_attacks",
        (ST,),
        (
            Condition(
                "angle of the groups' means / angle between vertices",
                _changed_angle("pgd"),
                "<=",
                0.25,
                _changed_angle("scatter_in_span"),
            ),
            Condition(
                "groups' means: |length / vertex's length − 1|",
                _off_length("pgd"),
                "<=",
                0.25,
                _off_length("scatter_in_span"),
            ),
            Condition(
                "groups by predicted label: NC1/(K−1)",
                _changed("pgd", "nc1"),
                "<=",
                1,
                scattered_nc1,
            ),
            Condition(
                "groups by predicted label: NC1 / NC1 of scatter",
                ratio(_changed("pgd", "nc1"), scattered_nc1),
                "<=",
                0.5,
                constant(1.0),
            ),
        ),
        (_collapse_there(ST), _attack_succeeds(ST)),
    ),
    Claim(
        "C5",
        "targeted points land further off",
        "Targeted attacks that arrive are at the target's vertex too, at a larger angle than "
        "untargeted ones.",
        "figure 4, left",
        "03_attacks",
        (ST,),
        (
            Condition(
                "angle of the targets' means / angle between vertices",
                _changed_angle("targeted"),
                "<=",
                0.25,
                _changed_angle("scatter_in_span"),
            ),
            Condition(
                "groups' means: |length / vertex's length − 1|",
                _off_length("targeted"),
                "<=",
                0.25,
                _off_length("scatter_in_span"),
            ),
            Condition(
                "groups by target: NC1/(K−1)",
                _changed("targeted", "nc1"),
                "<=",
                1,
                _as_many_scattered("targeted"),
            ),
            Condition(
                "targeted less untargeted angle / angle between vertices",
                less(_changed_angle("targeted"), _changed_angle("pgd")),
                ">=",
                0,
                constant(0.0),
            ),
        ),
        (
            _collapse_there(ST),
            Condition(
                "share of targeted attacks that arrive", _changed("targeted", "share"), ">=", 0.5
            ),
        ),
    ),
    Claim(
        "C6",
        "attacks prefer some classes",
        "Untargeted attacks prefer some classes: predicted labels are far from uniform.",
        "figure 3",
        "03_attacks",
        (ST,),
        (
            Condition(
                "share of points to move for equal counts of labels",
                _away_from_uniform,
                ">=",
                0.1,
                lambda seed: nulls.away_from_uniform(*_count(ST, seed)[:2]),
            ),
        ),
        (_attack_succeeds(ST),),
    ),
    Claim(
        "C7",
        "AT collapses, attacked or not",
        "Adversarial training ends in neural collapse on clean and on attacked points.",
        "figure 2, right",
        "04_adversarial_training",
        (AT,),
        _AT_COLLAPSES,
        _converged(AT),
    ),
    Claim(
        "C8",
        "its two simplices are one",
        "The clean and the attacked simplex of AT are aligned.",
        "figure 4, right",
        "04_adversarial_training",
        (AT,),
        (
            Condition(
                "alignment angle / angle between vertices",
                _angle(AT, "alignment"),
                "<=",
                0.25,
                _right_angle(AT),
            ),
        ),
        (
            Condition(
                "tests of C7 that are met",
                lambda seed: sum(are_met(_AT_COLLAPSES, seed)),
                ">=",
                len(_AT_COLLAPSES),
            ),
            *_converged(AT),
        ),
    ),
    Claim(
        "C9",
        "AT keeps more variance than ST",
        "AT keeps a higher variance within classes than ST.",
        "figure 2",
        "04_adversarial_training",
        (ST, AT),
        (
            Condition(
                "variance Tr Σ_W, clean points: AT / ST",
                _of_ends("within", (AT, "clean"), (ST, "clean")),
                ">=",
                1,
                constant(1.0),
            ),
            Condition(
                "NC1, clean points: AT / ST",
                _of_ends("nc1", (AT, "clean"), (ST, "clean")),
                ">=",
                1,
                constant(1.0),
            ),
        ),
        (
            _small_nc1(ST, "clean"),
            _small_nc1(AT, "clean"),
            Condition(
                "epochs: ST / AT",
                lambda seed: seed[ST.title].training.epochs / seed[AT.title].training.epochs,
                "<=",
                1,
            ),
        ),
    ),
    Claim(
        "C10",
        "its NCC classifier is as robust",
        "The nearest-class-centre classifier of AT is as robust as the network.",
        "abstract, and the section on the NCC classifier",
        "04_adversarial_training",
        (AT,),
        (
            Condition(
                "accuracy under attack: |network − NCC|",
                _apart(_end(AT, "pgd", "accuracy"), _end(AT, "pgd", "ncc_accuracy")),
                "<=",
                0.05,
                less(_end(AT, "pgd", "accuracy"), _guessing(AT)),
            ),
            Condition(
                "accuracy under attack, test points: |network − NCC|",
                _apart(
                    lambda seed: seed[AT.title].geometry("test_pgd", "accuracy"),
                    lambda seed: seed[AT.title].geometry("test_pgd", "ncc_accuracy"),
                ),
                "<=",
                0.05,
                less(lambda seed: seed[AT.title].geometry("test_pgd", "accuracy"), _guessing(AT)),
            ),
        ),
        (Condition("AT: accuracy under attack", _end(AT, "pgd", "accuracy"), ">=", 0.5),),
    ),
    Claim(
        "C10a",
        "its NCC classifier is as robust, each attacked itself",
        "The same where network and NCC classifier are each attacked itself.",
        "not in the paper, which attacks the network",
        "09_stronger_attacks",
        (AT,),
        tuple(
            Condition(
                f"accuracy, each attacked itself, {named}: |network − NCC|",
                _apart(_attacked(points, "network"), _attacked(points, "ncc")),
                "<=",
                0.05,
                less(_attacked(points, "network"), _guessing(AT)),
            )
            for points, named in (("train", "training points"), ("test", "test points"))
        ),
        (Condition("AT: accuracy, attacked itself", _attacked("train", "network"), ">=", 0.5),),
    ),
    Claim(
        "C11",
        "TRADES as released does not fully collapse",
        "TRADES, as the released code runs it with BatchNorm frozen, does not fully "
        "collapse though it converges: it misses tests of collapse that AT meets.",
        "figure 5",
        "05_trades",
        (AT, TRADES_FROZEN),
        _no_simplex(TRADES_FROZEN),
        _converged(TRADES_FROZEN),
    ),
    Claim(
        "C11o",
        "nor does TRADES as published",
        "The same of TRADES as its authors published it.",
        "figure 5",
        "05_trades",
        (AT, TRADES),
        _no_simplex(TRADES),
        _converged(TRADES),
    ),
    Claim(
        "C12",
        "early layers stay reliable",
        "Collapse grows with depth on clean points; under attack early layers of ST keep a "
        "simplex and a reliable NCC classifier, and late layers lose both.",
        "abstract, and the section on layers",
        "06_layerwise",
        (ST,),
        (
            Condition(
                "rank correlation of depth with NC1, clean points",
                _depth_correlation,
                "<=",
                -0.8,
                constant(0.0),
                best=-1,
            ),
            Condition(
                "NCC accuracy under attack, first layer",
                _at_layer(0, "pgd", "ncc_accuracy"),
                ">=",
                0.5,
                _unlearnt(0, "pgd"),
                "before training, or pixels",
                best=1,
            ),
            Condition(
                "NC2 angles under attack, first layer",
                _at_layer(0, "pgd", "nc2_angles"),
                "<=",
                0.1,
            ),
            Condition(
                "NC2 angles, first layer: attacked less clean points",
                less(_at_layer(0, "pgd", "nc2_angles"), _at_layer(0, "clean", "nc2_angles")),
                "<=",
                0.05,
            ),
            Condition(
                "NCC accuracy under attack, last layer",
                _at_layer(-1, "pgd", "ncc_accuracy"),
                "<=",
                0.1,
                _guessing(ST),
            ),
            Condition(
                "NC2 angles under attack, last layer",
                _at_layer(-1, "pgd", "nc2_angles"),
                ">=",
                0.2,
                _at_layer(-1, "clean", "nc2_angles"),
                "clean points",
            ),
        ),
        (
            _attack_succeeds(ST),
            Condition(
                "NCC accuracy on clean points, last layer",
                _at_layer(-1, "clean", "ncc_accuracy"),
                ">=",
                0.5,
            ),
        ),
    ),
    Claim(
        "C13",
        "noise is harmless to AT",
        "The collapse of AT is the same on clean and on Gaussian points.",
        "figure 2, right",
        "04_adversarial_training",
        (AT,),
        (
            _nc1_with_noise(AT, 1.25, ratio(_null_nc1(AT), _spread(AT, "clean")), ERASED),
            Condition(
                "NC2 angles: |with noise − clean|",
                _apart(_end(AT, "gauss", "nc2_angles"), _end(AT, "clean", "nc2_angles")),
                "<=",
                0.05,
            ),
            _lost_to_noise(AT, less(_end(AT, "clean", "accuracy"), _guessing(AT)), ERASED),
        ),
        (_collapse_there(AT),),
    ),
)
