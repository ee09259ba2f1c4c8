"""Sentences and tables on verdicts: of one scale, of two, and of all."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from rnc.study.claims import FAILS, HOLDS, NOT_APPLICABLE, OPEN, PARTLY, Verdict, judge
from rnc.study.findings.finding import FINDINGS, MORE, NOTHING, Text, span
from rnc.study.record import Record
from rnc.study.records import Records

# what stands in the README
SHOWN = ("points_leap", "at_collapses", "trades_beside_at", "early_layers_beside_pixels")


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


def _named(verdict: Verdict) -> str:
    count = int(verdict.applicable.sum()) or verdict.values.shape[1]
    seeds = f"; {count} seed{'s' * (count > 1)}" if count else ""
    return f"{verdict.claim.id} ({verdict.claim.title}{seeds})"


def changes(before: Iterable[Verdict], after: Iterable[Verdict]) -> Text:
    """Which verdicts are others in the second of two judgements of the same claims."""
    moved = [
        f"{a.claim.id} ({a.verdict} → {b.verdict})"
        for a, b in zip(before, after, strict=True)
        if a.verdict != b.verdict
    ]
    return Text(f"Verdicts change: {', '.join(moved)}." if moved else "No verdict changes.")


def overview(found: dict[str, Records]) -> Text:
    """A table of claims and scales in Markdown, and what else the longest training shows."""
    names = [chr(ord("A") + number) for number in range(len(found))]
    judged = [judge(records) for records in found.values()]
    lines = [f"| claim | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for verdicts in zip(*judged, strict=True):
        cells = (f"{v.sign} {int(v.applicable.sum()) or ''}".strip() for v in verdicts)
        claim = verdicts[0].claim
        lines.append(f"| {claim.id}: {claim.title} | {' | '.join(cells)} |")
    lines += ["", *(f"- {name}: {scale}" for name, scale in zip(names, found, strict=True)), ""]
    *_, longest = found.values()
    said = (FINDINGS[name].say(longest) for name in SHOWN)
    lines.append(f"At scale {names[-1]}: " + " ".join(text for text in said if text != NOTHING))
    return Text("\n".join(lines))


def over_beta(found: dict[float, list[Record]]) -> Text:
    """What the weight of the regulariser of TRADES does to collapse, from records by weight."""
    weights = sorted(found)

    def ends(measure: str) -> list[np.ndarray]:
        return [np.array([r.end("pgd", measure) for r in found[beta]]) for beta in weights]

    nc1, angles, norms = ends("nc1"), ends("nc2_angles"), ends("logit_norm")
    apart = list(itertools.pairwise(nc1))
    if all(a.max() < b.min() for a, b in apart):
        order = "the weaker it is, the further the network collapses"
    elif all(a.min() > b.max() for a, b in apart):
        order = "the stronger it is, the further the network collapses"
    else:
        order = "collapse does not follow the weight"
    listed = ("; ".join(span(values) for values in of) for of in (nc1, angles, norms))
    named = ", ".join(f"{beta:g}" for beta in weights)
    return Text(
        "With the regulariser at weights β = {} NC1 on attacked points ends at {}, the angles of "
        "NC2 at {}, and logits are {} long: {}.".format(named, *listed, order)
    )


def drifts(judged: dict[int, list[Verdict]]) -> Text:
    """Which claims come closer to failing as the data grow, by the test that misses most.

    Args:
        judged: by number of images per class, verdicts of the same claims.
    """
    sizes = sorted(judged)
    closer, away, level = [], [], []
    for few, many in zip(judged[sizes[0]], judged[sizes[-1]], strict=True):
        before, after = (np.nanmax(v.excess(), initial=-np.inf) for v in (few, many))
        if np.isinf([before, after]).any():  # one of the two was not measured
            continue
        moved = away if after > MORE * before else closer if after < before / MORE else level
        moved.append(few.claim.id)
    words = {"comes closer to its bound in": closer, "goes away from it in": away}
    parts = [
        f"{way} {', '.join(ids)}"
        for way, ids in (words | {"moves less than that in": level}).items()
        if ids
    ]
    return Text(
        f"From {sizes[0]} to {sizes[-1]} images per class, at equal numbers of updates, the test "
        f"that misses most {'; '.join(parts)} (by a factor of {MORE:g})."
    )
