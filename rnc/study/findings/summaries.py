"""Sentences and tables on verdicts: of one scale, of two, and of all."""

from __future__ import annotations

from collections.abc import Container, Iterable
from string import ascii_uppercase

import numpy as np

from rnc.study.claims import FAILS, HOLDS, NOT_APPLICABLE, OPEN, PARTLY, Verdict, judge
from rnc.study.findings.finding import FINDINGS, NOTHING, Text
from rnc.study.records import Records

# what stands in the README
SHOWN = (
    "points_leap",
    "at_collapses",
    "at_collapses_under_stronger",
    "trades_beside_at",
    "early_layers_beside_pixels",
    "early_layers_over_radii",
)


def summary(judged: Iterable[Verdict]) -> Text:
    """Which claims hold, and which do not, in one sentence for each answer."""
    judged = list(judged)
    said = {
        HOLDS: "Hold",
        PARTLY: "hold in part, some of their tests met and some not",
        FAILS: "do not hold here",
        NOT_APPLICABLE: "do not apply, since something that they take for granted is not so",
        OPEN: "were not measured",
    }
    parts = []
    for answer, words in said.items():
        if named := [_named(v) for v in judged if v.verdict == answer]:
            parts.append(f"{words[0].upper()}{words[1:]}: {', '.join(named)}.")
    return Text(" ".join(parts))


def in_short(judged: Iterable[Verdict]) -> Text:
    """A line for each claim: its verdict, and a test that it misses or the one that is nearest to
    its bound."""
    return Text("\n".join(f"- {_line(verdict)}" for verdict in judged))


def _line(verdict: Verdict) -> str:
    line = f"**{verdict.claim.title}** ({verdict.claim.id}): {verdict.at_seeds}"
    if verdict.verdict == OPEN:
        return f"{line}."
    if verdict.verdict == NOT_APPLICABLE:
        return f"{line}; not met: {', '.join(verdict.failing_premises())}."
    held = verdict.held()
    strains = [
        np.fmax.reduce([condition.strain(value) for value in row], initial=0.0)
        for condition, row in zip(
            verdict.claim.conditions, verdict.values[:, verdict.applicable], strict=True
        )
    ]
    # what is missed at most seeds comes first, and then what is furthest from its bound
    number = max(range(len(held)), key=lambda test: ((~held[test]).sum(), strains[test]))
    met, chance = held[number], verdict.by_chance()[number]
    # a test that asks for a sign has no bound to be near to
    bounded = all(c.bound != c.neutral for c in verdict.claim.conditions)
    near = "nearest to its bound" if bounded else "among its tests"
    how = near if met.all() else f"missed at {(~met).sum()} of {len(met)}"
    test = verdict.claim.conditions[number]
    line += f"; {how}: {test}, measured {verdict.measured()[number]}"
    line += "" if chance == "–" else f", {test.against} {chance}"
    side = verdict.direction(number)
    line += f": {side}" if side else ""
    missed = [row for row in np.delete(held, number, 0) if not row.all()]
    if not missed:
        return f"{line}."
    some = sum(row.any() for row in missed)
    of = f", {some} of them not at every seed" if some < len(missed) else ", not at every seed"
    return f"{line}; {len(missed)} more missed{of * bool(some)}."


def _named(verdict: Verdict) -> str:
    seeds = f"; {verdict.count} seed{'s' * (verdict.count > 1)}" if verdict.count else ""
    return f"{verdict.claim.id} ({verdict.claim.title}{seeds})"


def changes(before: Iterable[Verdict], after: Iterable[Verdict]) -> Text:
    """Which verdicts are others in the second of two judgements of the same claims, which tests
    are met at another number of seeds where they are not, and which could not be others."""
    before, after = list(before), list(after)
    idle = [
        a.claim.id
        for a, b in zip(before, after, strict=True)
        if a.verdict == b.verdict == NOT_APPLICABLE
    ]
    inside = [
        f"{a.claim.id} ({condition.what}: {met[0]} → {met[1]} of {len(a.met_at())})"
        for a, b in zip(before, after, strict=True)
        for number, condition in enumerate(a.claim.conditions)
        if a.verdict == b.verdict not in (OPEN, NOT_APPLICABLE)
        and len(set(met := [sum(one.met_at(number)) for one in (a, b)])) == 2
    ]
    return Text(
        moved(before, after)
        + " Where a verdict stays, tests that are met at another number of seeds: "
        f"{', '.join(inside)}."
        * bool(inside)
        + f" Not applicable in both: {', '.join(idle)}." * bool(idle)
    )


def under_stronger(records: Records, *ids: str) -> Text:
    """Which verdicts of some claims change under the stronger and adaptive attacks, at the seeds
    that have them."""
    attacked = {
        title: [record for record in seeds if "stronger" in record.measured]
        for title, seeds in records.items()
    }
    if not any(attacked.values()):
        return Text(NOTHING)
    harder = {title: [one.under_stronger() for one in seeds] for title, seeds in attacked.items()}
    seeds = ", ".join(f"{title} {len(seeds)}" for title, seeds in attacked.items() if seeds)
    return Text(
        f"Numbers of seeds: {seeds}. {changes(judge(attacked, *ids), judge(harder, *ids))}"
    )


def moved(before: Iterable[Verdict], after: Iterable[Verdict]) -> str:
    """Which verdicts are others in the second of two judgements of the same claims."""
    named = [
        f"{a.claim.id} ({a.verdict} → {b.verdict})"
        for a, b in zip(before, after, strict=True)
        if a.verdict != b.verdict
    ]
    return f"Verdicts change: {', '.join(named)}." if named else "No verdict changes."


def lettered(
    scales: Iterable[str],
    letters: Iterable[str | int] = ascii_uppercase,
    only: Container[str] | None = None,
) -> Text:
    """A list of scales with the letters that stand for them; of some letters only, if given."""
    pairs = zip(letters, scales, strict=False)
    return Text("\n".join(f"- {x}: {scale}" for x, scale in pairs if only is None or x in only))


def overview(found: dict[str, Records]) -> Text:
    """A table of claims and scales in Markdown, and what else the longest training shows.

    The first letter is left to what the reader's own machine trains, as in the book.
    """
    names = ascii_uppercase[1 : len(found) + 1]
    judged = [judge(records) for records in found.values()]
    lines = [f"| claim | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for verdicts in zip(*judged, strict=True):
        cells = (f"{v.sign} {v.count or ''}".strip() for v in verdicts)
        claim = verdicts[0].claim
        lines.append(f"| {claim.id}: {claim.title} | {' | '.join(cells)} |")
    lines += ["", lettered(found, names), ""]
    *_, longest = found.values()
    said = (FINDINGS[name].say(longest) for name in SHOWN)
    lines.append(f"At scale {names[-1]}: " + " ".join(text for text in said if text != NOTHING))
    return Text("\n".join(lines))
