"""Sentences on a series: networks that differ in the value of one setting and in nothing else."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable

import numpy as np

from rnc.study.claims import CONVERGED, NOT_APPLICABLE, OPEN, Condition, Verdict, judge
from rnc.study.findings.finding import MORE, NOTHING, Text, span
from rnc.study.findings.summaries import moved
from rnc.study.methods import AT, TRADES, Method
from rnc.study.record import NotMeasured, Record
from rnc.study.records import Records

Series = dict[float, Records]  # by value of the setting, in ascending order

TOWARDS = {"<=": 1, ">=": -1}  # failing, of a value that rises


def one_way(values: np.ndarray) -> int:
    """1 if the values rise at every step, -1 if they fall at every step, and else 0."""
    steps = np.diff(values)
    return int((steps > 0).all()) - int((steps < 0).all())


def judged_series(series: Series) -> list[list[Verdict]]:
    """Of each claim that was measured at every value, its verdicts, one for each value."""
    judged = zip(*(judge(records) for records in series.values()), strict=True)
    return [list(v) for v in judged if all(one.verdict != OPEN for one in v)]


def means(verdicts: list[Verdict]) -> np.ndarray:
    """Of each test of a claim, a row, its value at each verdict, mean over seeds."""
    return np.array([verdict.values.mean(1) for verdict in verdicts]).T


def drifts(verdicts: list[Verdict]) -> list[tuple[Condition, int]]:
    """For each test of a claim, whether its value, mean over seeds, goes towards failing at every
    step of the series (1), away from it (-1), or neither (0)."""
    return list(zip(verdicts[0].claim.conditions, _ways(verdicts, means(verdicts)), strict=True))


def _ways(verdicts: list[Verdict], rows: np.ndarray) -> list[int]:
    """For each test the way of its row, as `drifts` counts it."""
    pairs = zip(verdicts[0].claim.conditions, rows, strict=True)
    return [TOWARDS[condition.relation] * one_way(row) for condition, row in pairs]


def set_off_drifts(verdicts: list[Verdict]) -> list[int | None]:
    """The same of what the values are beyond their nulls; None of a test whose null is missing or
    stays as it is."""
    nulls = np.array([verdict.nulls.mean(1) for verdict in verdicts]).T
    ways = _ways(verdicts, means(verdicts) - nulls)
    return [way if np.ptp(null) > 0 else None for way, null in zip(ways, nulls, strict=True)]


def drift(series: Series, unit: str) -> Text:
    """Which tests go one way along a series, how many would by luck, and which verdicts change.

    Args:
        series: of two values or more.
        unit: what the values are, such as "images of each class".
    """
    if len(series) < 2 or not (claims := judged_series(series)):
        return Text(NOTHING)
    found = [(v[0].claim, *test) for v in claims for test in drifts(v)]
    rows = (row for v in claims for row in means(v))
    # equal values rise in no order
    luck = sum(len(set(row)) == len(row) for row in rows) / math.factorial(len(series))
    first, *_, last = series
    set_off = [way for v in claims for way in set_off_drifts(v)]
    lines = [
        f"From {first:g} to {last:g} {unit}, {len(found)} values are compared. If their order "
        f"were luck, {luck:.1f} would rise at every step and as many fall, on average: values "
        "are of the same networks, and many would at once."
    ]
    for way, words in ((1, "go towards failing"), (-1, "go away from failing")):
        named = Counter(claim.id for claim, _, towards in found if towards == way)
        listed = ", ".join(f"{count} of {id}" for id, count in named.items())
        lines.append(f"{named.total()} {words} at every step" + f": {listed}." * bool(listed))
    pairs = [
        (raw, way)
        for (*_, raw), way in zip(found, set_off, strict=True)
        if raw and way is not None
    ]
    if pairs:
        lines.append(
            f"For {len(pairs)} of these what they are set against, such as chance, changes too: "
            f"with that subtracted {sum(a == b for a, b in pairs)} go the same way at every "
            f"step, {sum(a == -b for a, b in pairs)} the other way."
        )
    changed = [
        f"{v[0].claim.id} ({' → '.join(one.verdict for one in v)})"
        for v in claims
        if len({one.verdict for one in v}) > 1
    ]
    lines.append(f"Verdicts change: {', '.join(changed)}." if changed else "No verdict changes.")
    never = [v[0].claim.id for v in claims if all(one.verdict == NOT_APPLICABLE for one in v)]
    if never:
        lines.append(f"Not applicable throughout: {', '.join(never)}.")
    return Text(" ".join(lines))


def parted_by_luck(a: np.ndarray, b: np.ndarray) -> float:
    """The share of divisions of all values into as many as in a and in b in which one part lies
    beyond the other: 2 of (n + m choose n) where no values are equal."""
    both, (n, m) = np.sort(np.concatenate([a, b])), (len(a), len(b))
    ways = sum(both[least - 1] < both[least] for least in (n, m))  # equal ones cannot be parted
    return int(ways) / math.comb(n + m, n)


def draws(one: Records, other: Records) -> Text:
    """Which tests of the claims are further apart between two samples of images than seeds are in
    either, and how many would be by luck; see `parted_by_luck`."""
    claims = judged_series({0: one, 1: other})
    if not claims:
        return Text(NOTHING)
    apart, luck, total = Counter(), 0.0, 0
    for first, second in claims:
        for a, b in zip(first.values, second.values, strict=True):
            apart[first.claim.id] += bool(a.min() > b.max() or a.max() < b.min())
            luck += parted_by_luck(a, b)
            total += 1
    named = ", ".join(f"{count} of {id}" for id, count in apart.items() if count)
    order = (
        f"{total} values of tests are compared. In {apart.total()} the seeds of one sample all "
        f"lie beyond those of the other{f': {named}' * bool(named)}. If the sample made no "
        f"difference, luck would part about {luck:.1f}; values are of the same networks, so such "
        "counts spread more than those of independent ones. "
    )
    alone = all(verdict.values.shape[1] == 1 for pair in claims for verdict in pair)
    # of one seed each all are apart
    return Text(order * (not alone) + moved(*zip(*claims, strict=True)))


WEIGHED = {  # name to readers, and the way in which it is further from collapse
    "nc1": ("NC1", 1),
    "nc2_angles": ("angles of NC2", 1),
    "nc3": ("NC3", 1),
    "logit_norm": ("length of the logits", -1),
}


def over_weights(series: Series) -> Text:
    """What goes the way from collapse, shorter logits among it, the more the divergence weighs: at
    every step and seed, and by more than MORE in all."""
    return _of_seeds(series, TRADES, _over_weights)


Networks = dict[float, dict[int, Record]]  # of one method, by value of the setting and by seed


def _of_seeds(series: Series, method: Method, told: Callable[[Networks, list[int]], Text]) -> Text:
    """What is told of a method's networks and of the seeds that all values have."""
    networks = {
        value: {record.training.seed: record for record in records.get(method.title, [])}
        for value, records in series.items()
    }
    seeds = sorted(set.intersection(*map(set, networks.values()))) if networks else []
    if len(series) < 2 or not seeds:
        return Text(NOTHING)
    try:
        return told(networks, seeds)
    except NotMeasured:
        return Text(NOTHING)


def _table(networks: Networks, seeds: list[int], value: Callable[[Record], float]) -> np.ndarray:
    """A value of each network: seeds x values of the setting."""
    return np.array([[value(by_seed[s]) for by_seed in networks.values()] for s in seeds])


def _over_weights(networks: Networks, seeds: list[int]) -> Text:
    of = functools.partial(_table, networks, seeds)

    ends = {name: of(lambda record, name=name: record.end("pgd", name)) for name in WEIGHED}
    listed = [
        f"{title} {', '.join(span(column, '.3g') for column in ends[name].T)}"
        for name, (title, _) in WEIGHED.items()
    ]
    steady = {
        title: (ends[name][:, -1] / ends[name][:, 0]) ** way
        for name, (title, way) in WEIGHED.items()
        if all(one_way(row) == way for row in ends[name])
    }
    much = [title for title, factors in steady.items() if (factors > MORE).all()]
    loss = of(lambda record: record.loss_left)
    said = [
        f"On attacked points, for a weight β of {', '.join(f'{beta:g}' for beta in networks)} "
        f"({len(seeds)} seed{'s' * (len(seeds) > 1)}): {'; '.join(listed)}."
    ]
    said += [
        f"Over {len(by_seed)} seeds NC1 is {span(r.end('pgd', 'nc1') for r in by_seed.values())} "
        f"at β = {beta:g}."
        for beta, by_seed in networks.items()
        if len(by_seed) > len(seeds)
    ]
    factors = ", ".join(f"{title} ({span(of)} times in all)" for title, of in steady.items())
    said.append(
        f"At every step{' and seed' * (len(seeds) > 1)}, measures of collapse that grow and "
        f"logits that get shorter: {factors or 'none'}; of these by more than a quarter: "
        f"{' and '.join(much) or 'none'}."
    )
    shown = ", ".join(span(column, ".1%") for column in loss.T)
    said.append(
        f"Over the last tenth of the epochs the loss is {shown} of that of guessing: "
        + (
            "all have converged."
            if (loss <= CONVERGED).all()
            else "not all have converged, so this may be a matter of how fast they learn."
        )
    )
    return Text(" ".join(said))


def over_lengths(series: Series) -> Text:
    """What becomes of AT's collapse and of its robustness on new images as it is trained longer:
    of the shortest and the longest training of the same seeds."""
    return _of_seeds(series, AT, _over_lengths)


def _over_lengths(networks: Networks, seeds: list[int]) -> Text:
    def of(value: Callable[[Record], float]) -> np.ndarray:
        return _table(networks, seeds, value)[:, [0, -1]].T

    def spread(nc1: Callable[[Record], float]) -> str:
        ends = of(lambda record: nc1(record) / (record.num_classes - 1))
        return f"{way(ends)} from {span(ends[0])} to {span(ends[1])}"

    def way(ends: np.ndarray) -> str:
        first, last = ends
        return "rises" if (last > first).all() else "falls" if (last < first).all() else "goes"

    robust = of(lambda record: record.test("pgd"))
    tested = of(lambda record: record.num_classes * (record.training.per_class or math.inf)).min()
    error = 100 * math.sqrt((robust * (1 - robust)).sum(0).max() / tested)
    points = span(100 * (robust[1] - robust[0]), "+.1f")
    guessing = of(lambda record: 1 / record.num_classes).max()
    loss = of(lambda record: record.loss_left)
    first, *_, last = networks
    return Text(
        f"From {first:g} to {last:g} epochs ({len(seeds)} seed{'s' * (len(seeds) > 1)}) NC1/(K−1) "
        f"of AT {spread(lambda record: record.end('pgd', 'nc1'))} on attacked training points, "
        f"and {spread(lambda record: record.geometry('test_pgd', 'nc1'))} on attacked test "
        f"points. Accuracy on attacked test points {way(robust)} from {span(robust[0], '.1%')} to "
        f"{span(robust[1], '.1%')}, by {points} points, where guessing gives {guessing:.0%}"
        f"{f'; one such difference has a standard error of {error:.1f}' * bool(error)}. The "
        f"loss over the last tenth of the epochs is {span(100 * loss[0])} % and "
        f"{span(100 * loss[1])} % of that of guessing."
    )
