"""Sentences on a series: networks that differ in the value of one setting and in nothing else."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from rnc.study.claims import NOT_APPLICABLE, OPEN, Condition, Verdict, judge
from rnc.study.findings.finding import MORE, NOTHING, Text, span
from rnc.study.methods import TRADES
from rnc.study.record import NotMeasured
from rnc.study.records import Records

Series = dict[float, Records]  # by value of the setting, in ascending order


def one_way(values: np.ndarray) -> int:
    """1 if the values rise at every step, -1 if they fall at every step, and else 0."""
    steps = np.diff(values)
    return int((steps > 0).all()) - int((steps < 0).all())


def judged_series(series: Series) -> list[list[Verdict]]:
    """Of each claim that was measured at every value, its verdicts, one for each value."""
    judged = zip(*(judge(records) for records in series.values()), strict=True)
    return [list(v) for v in judged if all(one.verdict != OPEN for one in v)]


def drifts(verdicts: list[Verdict]) -> list[tuple[Condition, int]]:
    """For each test of a claim, whether its value, mean over seeds, goes towards failing at every
    step of the series (1), away from it (-1), or neither (0)."""
    towards = {"<=": 1, ">=": -1}
    means = np.array([verdict.values.mean(1) for verdict in verdicts])
    return [
        (condition, towards[condition.relation] * one_way(column))
        for condition, column in zip(verdicts[0].claim.conditions, means.T, strict=True)
    ]


def drift(series: Series, unit: str) -> Text:
    """Which tests go one way along a series, how many would by luck, and which verdicts change.

    Args:
        series: of two values or more.
        unit: what the values are, such as "images of each class".
    """
    if len(series) < 2 or not (claims := judged_series(series)):
        return Text(NOTHING)
    found = [(v[0].claim, *test) for v in claims for test in drifts(v)]
    luck = len(found) / math.factorial(len(series))
    first, *_, last = series
    lines = [
        f"From {first:g} to {last:g} {unit}, {len(found)} values are compared. If their order "
        f"were luck, {luck:.1f} would rise at every step and as many fall."
    ]
    for way, words in ((1, "go towards failing"), (-1, "go away from failing")):
        named = Counter(claim.id for claim, _, towards in found if towards == way)
        listed = ", ".join(f"{count} of {id}" for id, count in named.items())
        lines.append(f"{named.total()} {words} at every step" + f": {listed}." * bool(listed))
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


STEADILY = "at every step and seed, and by more than a quarter in all"
WEIGHTS = {
    "both": "The more the divergence weighs, the shorter are the logits and the further is the "
    f"network from collapse, {STEADILY}.",
    "logits": f"The more the divergence weighs, the shorter are the logits, {STEADILY}; not so "
    "the distance from collapse.",
    "collapse": "The more the divergence weighs, the further is the network from collapse, "
    f"{STEADILY}; not so the length of the logits.",
    "neither": "Neither distance from collapse nor length of the logits goes with the weight "
    f"{STEADILY}.",
}


def over_weights(series: Series) -> Text:
    """Whether TRADES collapses less, and its logits are shorter, the more the divergence weighs:
    at every step and seed, and by more than MORE in all."""
    try:
        outcome, values = _over_weights(series)
    except NotMeasured:
        return Text(NOTHING)
    return Text(
        "On attacked points NC1 ends at {nc1}, the length of the logits at {logit_norm} and the "
        "divergence at {kl} for a weight β of {weights} ({seeds}). {others}".format(**values)
        + WEIGHTS[outcome]
    )


def _over_weights(series: Series) -> tuple[str, dict[str, str]]:
    networks = {
        beta: {record.training.seed: record for record in records.get(TRADES.title, [])}
        for beta, records in series.items()
    }
    seeds = sorted(set.intersection(*map(set, networks.values()))) if networks else []
    if len(series) < 2 or not seeds:
        raise NotMeasured("no seed of TRADES was trained at two weights")
    ends = {
        name: np.array(
            [[by_seed[seed].end("pgd", name) for by_seed in networks.values()] for seed in seeds]
        )
        for name in ("nc1", "logit_norm", "kl")
    }

    def goes(name: str, way: int) -> bool:
        values = ends[name]
        factors = (values[:, -1] / values[:, 0]) ** way
        return all(one_way(row) == way for row in values) and bool((factors > MORE).all())

    further, shorter = goes("nc1", 1), goes("logit_norm", -1)
    others = [
        f"Over {len(by_seed)} seeds NC1 is {span(r.end('pgd', 'nc1') for r in by_seed.values())} "
        f"at β = {beta:g}. "
        for beta, by_seed in networks.items()
        if len(by_seed) > len(seeds)
    ]
    if further:
        outcome = "both" if shorter else "collapse"
    else:
        outcome = "logits" if shorter else "neither"
    return outcome, {
        "others": "".join(others),
        "weights": ", ".join(f"{beta:g}" for beta in series),
        "seeds": f"{len(seeds)} seed{'s' * (len(seeds) > 1)}",
    } | {
        name: ", ".join(span(column, ".3g") for column in values.T)
        for name, values in ends.items()
    }
