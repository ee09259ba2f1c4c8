"""Sentences that state what was found: each is chosen by what the records hold.

A finding looks at the records of a study, says which of its outcomes they show, and gives the
numbers that its sentence needs, so that a chapter at another preset, radius or seed never says
what its own records contradict. A new finding is one more function; `say` gives its sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from rnc.study.claims import (
    CLAIMS,
    FAILS,
    HOLDS,
    NOT_APPLICABLE,
    OPEN,
    PARTLY,
    Seed,
    Verdict,
    by_seed,
    judge,
    judge_seeds,
)
from rnc.study.methods import AT, ST, TRADES, TRADES_FROZEN, Method
from rnc.study.record import NotMeasured, mean
from rnc.study.records import Records

NOTHING = "This was not measured here."
# what stands in the README
SHOWN = ("points_leap", "at_collapses", "trades_beside_at", "early_layers_beside_pixels")

Outcome = tuple[str, dict[str, str]]  # which of the texts, and what stands in its gaps


@dataclass(frozen=True)
class Finding:
    """A question to records.

    Attributes:
        name: of the function.
        needs: methods whose networks it is about.
        texts: by outcome, its sentence.
        look: gives the outcome, from the records of each seed that has all these networks.
    """

    name: str
    needs: tuple[Method, ...]
    texts: dict[str, str]
    look: Callable[[list[Seed]], Outcome]

    def outcome(self, records: Records) -> Outcome | None:
        """What it finds in some records; None where a network or a measurement is not there."""
        seeds = self.seeds(records)
        return self.look(seeds) if seeds else None

    def say(self, records: Records) -> str:
        """Its sentence, and how many of the seeds it is about if not about all."""
        if not (seeds := self.seeds(records)):
            return NOTHING
        outcome, values = self.look(seeds)
        total = len(by_seed(records))
        some = f" (Measured at {len(seeds)} of {total} seeds.)" if len(seeds) < total else ""
        return self.texts[outcome].format(**values) + some

    def seeds(self, records: Records) -> list[Seed]:
        """Those of which everything is there that it looks at."""
        return [
            seed
            for seed in by_seed(records)
            if all(m.title in seed for m in self.needs) and self._measured(seed)
        ]

    def _measured(self, seed: Seed) -> bool:
        try:
            self.look([seed])
        except NotMeasured:
            return False
        return True


FINDINGS: dict[str, Finding] = {}


def finding(*needs: Method, **texts: str) -> Callable:
    """Declares a function from the records of seeds to an outcome as the finding of its name."""

    def declare(look: Callable[[list[Seed]], Outcome]) -> Callable:
        words = {outcome: " ".join(text.split()) for outcome, text in texts.items()}
        FINDINGS[look.__name__] = Finding(look.__name__, needs, words, look)
        return look

    return declare


class Text(str):
    """Markdown that Jupyter shows as such."""

    def _repr_markdown_(self) -> str:
        return str(self)


def say(records: Records, *names: str) -> Text:
    """The sentences of some findings, one after the other.

    Args:
        records: by title of the method, as `rnc.records` gives them.
        names: of FINDINGS.

    Raises:
        ValueError: there is no such finding.
    """
    if unknown := [name for name in names if name not in FINDINGS]:
        raise ValueError(f"there is no finding {unknown[0]!r}; there are {', '.join(FINDINGS)}")
    return Text(" ".join(FINDINGS[name].say(records) for name in names))


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


# Words and numbers ---------------------------------------------------------------------------


def _range(values: Iterable[float], form: str = "") -> str:
    """One number, or the lowest and the highest over seeds; two digits if no form is given."""
    values = np.array(list(values), float)
    low, high = (_number(value, form) for value in (values.min(), values.max()))
    return low if low == high else f"{low}–{high}"


def _number(value: float, form: str) -> str:
    return f"{value:{form or ('#.2g' if abs(value) < 100 else ',.0f')}}".rstrip(".")


def _ends(seeds: list[Seed], method: Method, points: str, measure: str) -> np.ndarray:
    return np.array([seed[method.title].end(points, measure) for seed in seeds])


def _spread(seeds: list[Seed], method: Method, points: str) -> np.ndarray:
    """NC1/(K - 1)."""
    classes = seeds[0][method.title].num_classes
    return _ends(seeds, method, points, "nc1") / (classes - 1)


def _verdict(seeds: list[Seed], claim: str) -> Verdict:
    verdict = judge_seeds(next(c for c in CLAIMS if c.id == claim), seeds)
    if not verdict.values.size:
        raise NotMeasured(f"{claim} was not measured")
    return verdict


def _met(verdict: Verdict) -> dict[str, str]:
    """How many of a claim's tests are met at every seed, and which are not."""
    missed = [
        f"{c.what} better than chance" if all(map(c.holds, values)) else str(c)
        for number, (c, values) in enumerate(
            zip(verdict.claim.conditions, verdict.values, strict=True)
        )
        if not verdict.meets(number)
    ]
    total = len(verdict.claim.conditions)
    return {
        "met": str(total - len(missed)),
        "tests": str(total),
        "missed": f" (not: {'; '.join(missed)})" if missed else "",
    }


# Standard training ---------------------------------------------------------------------------


@finding(
    ST,
    defeated="""The network fits {clean} of its training points, and {noisy} of them with noise.
        PGD of the same size leaves {attacked}, and makes the loss {times} times as large.""",
    weakened="""The network fits {clean} of its training points, and {noisy} of them with noise.
        PGD of the same size leaves {attacked}: it weakens the network more than noise does, and
        does not defeat it.""",
    unharmed="""The network fits {clean} of its training points, {noisy} of them with noise and
        {attacked} under PGD: an attack of this size does no more than noise.""",
)
def st_fits(seeds: list[Seed]) -> Outcome:
    clean, noisy, attacked = (
        _ends(seeds, ST, points, "accuracy") for points in ("clean", "gauss", "pgd")
    )
    times = _ends(seeds, ST, "pgd", "loss") / _ends(seeds, ST, "clean", "loss")
    left = attacked.max() / clean.min()
    outcome = (
        "defeated" if left <= 0.1 else "weakened" if attacked.max() < noisy.min() else "unharmed"
    )
    return outcome, {
        "clean": _range(clean, ".0%"),
        "noisy": _range(noisy, ".0%"),
        "attacked": _range(attacked, ".0%"),
        "times": _range(times, ",.0f"),
    }


@finding(
    ST,
    holds="""On clean points the network collapses: all {tests} tests of C1 are met, with
        NC1/(K−1) at {nc1}.""",
    partly="""On clean points NC1/(K−1) falls to {nc1}, and {met} of the {tests} tests of C1 are
        met at every seed{missed}.""",
    other="""On clean points NC1/(K−1) ends at {nc1}; none of the {tests} tests of C1 is met at
        every seed.""",
)
def st_collapses(seeds: list[Seed]) -> Outcome:
    verdict = _verdict(seeds, "C1")
    met = _met(verdict)
    outcome = HOLDS if verdict.verdict == HOLDS else PARTLY if int(met["met"]) else "other"
    return outcome, met | {"nc1": _range(_spread(seeds, ST, "clean"))}


@finding(
    ST,
    intact="""Noise multiplies NC1 by {noise} and moves the angles of NC2 by {angles}; an attack
        of the same size multiplies NC1 by {attack}. So collapse is not brittle as such.""",
    brittle="""Noise multiplies NC1 by {noise} and moves the angles of NC2 by {angles}; an
        attack of the same size multiplies NC1 by {attack}. Here noise alone disturbs collapse
        too.""",
)
def noise_is_harmless(seeds: list[Seed]) -> Outcome:
    clean = _ends(seeds, ST, "clean", "nc1")
    noise, attack = (_ends(seeds, ST, points, "nc1") / clean for points in ("gauss", "pgd"))
    angles = abs(_ends(seeds, ST, "gauss", "nc2_angles") - _ends(seeds, ST, "clean", "nc2_angles"))
    return "intact" if noise.max() <= 2 and angles.max() <= 0.05 else "brittle", {
        "noise": _range(noise),
        "angles": _range(angles, ".1g"),
        "attack": _range(attack),
    }


@finding(
    ST,
    exaggerates="""Not every measure sees the same: the attack multiplies NC1 by {nc1}, but Tr
        Σ_W / Tr Σ_B by {traces} and CDNV by {cdnv}. NC1 weighs each direction by the inverse of
        the variance between classes there, so that directions in which the attacked means
        hardly differ rule it.""",
    agrees="""The attack multiplies NC1 by {nc1}, Tr Σ_W / Tr Σ_B by {traces} and CDNV by
        {cdnv}: the measures of variability agree.""",
)
def beside_nc1(seeds: list[Seed]) -> Outcome:
    def times(value: Callable[[str], np.ndarray]) -> np.ndarray:
        return value("pgd") / value("clean")

    nc1 = times(lambda points: _ends(seeds, ST, points, "nc1"))
    traces = times(
        lambda points: _ends(seeds, ST, points, "within") / _ends(seeds, ST, points, "between")
    )
    cdnv = times(lambda points: np.array([s[ST.title].geometry(points, "cdnv") for s in seeds]))
    return "exaggerates" if (nc1 > 2 * traces).all() else "agrees", {
        "nc1": _range(nc1),
        "traces": _range(traces),
        "cdnv": _range(cdnv),
    }


# Leaping -------------------------------------------------------------------------------------


@finding(
    ST,
    leap="""{share} of the points get another label, and they leap: the means of their groups
        are {angle} rad from the clean vertices and {length} times as long. An angle that small
        proves little, since scatter that the classifier sorts gives {null_angle} rad (within
        the span of the means). But such groups would be diffuse: their NC1/(K−1) would be
        {null}, and it is {nc1}.""",
    cluster="""{share} of the points get another label. The means of their groups are {angle}
        rad from the clean vertices (scatter: {null_angle}) and {length} times as long, and
        NC1/(K−1) within these groups is {nc1}, where scatter gives {null}: they gather, but not
        all tests of a leap are met.""",
    diffuse="""{share} of the points get another label. The means of their groups are {angle}
        rad from the clean vertices (scatter: {null_angle}) and {length} times as long, and
        NC1/(K−1) within these groups is {nc1}, where scatter gives {null}: this is no leap.""",
    none="""Too few points get another label ({share}) to say where they go.""",
)
def points_leap(seeds: list[Seed]) -> Outcome:
    def means(group: str, name: str) -> np.ndarray:
        return np.array([mean(seed[ST.title].changed(group, name)) for seed in seeds])

    share = means("pgd", "share")
    if share.min() < 0.1:
        return "none", {"share": _range(share, ".0%")}
    verdict = _verdict(seeds, "C4")
    gathered = verdict.meets(2) and verdict.meets(3)
    return "leap" if verdict.verdict == HOLDS else "cluster" if gathered else "diffuse", {
        "share": _range(share, ".0%"),
        "angle": _range(means("pgd", "angle")),
        "null_angle": _range(means("scatter_in_span", "angle")),
        "length": _range(means("pgd", "length")),
        "nc1": _range(means("pgd", "nc1")),
        "null": _range(means("scatter_in_span", "nc1")),
    }


@finding(
    ST,
    spread="""Means by *predicted* label are {predicted} times as long as the clean ones, means
        by *true* label {true} times, because each class is spread over several vertices.""",
    kept="""Means by *predicted* label are {predicted} times as long as the clean ones, means by
        *true* label {true} times: the attack does not spread the classes over other
        vertices.""",
)
def means_by_label(seeds: list[Seed]) -> Outcome:
    def length(name: str) -> np.ndarray:
        records = [seed[ST.title] for seed in seeds]
        return np.array(
            [mean(r.per_class(name)) / mean(r.per_class("clean_norms")) for r in records]
        )

    predicted, true = length("predicted_norms"), length("perturbed_norms")
    return "spread" if true.max() < 0.75 * predicted.min() else "kept", {
        "predicted": _range(predicted),
        "true": _range(true),
    }


@finding(
    ST,
    uneven="""Predicted labels are uneven: {away} of the points would have to move for equal
        counts, where uniform draws need {null} at most (99 of 100).""",
    even="""Predicted labels are about even: {away} of the points would have to move for equal
        counts, and uniform draws need up to {null}.""",
)
def some_classes_are_preferred(seeds: list[Seed]) -> Outcome:
    verdict = _verdict(seeds, "C6")
    return "uneven" if verdict.meets(0) else "even", {
        "away": _range(verdict.values[0], ".0%"),
        "null": _range(verdict.nulls[0], ".0%"),
    }


@finding(
    ST,
    arrive="""{share} of the targeted attacks arrive. Those that do are {angle} rad from the
        target's vertex, and {more} rad further off than points that leap where they like.""",
    near="""{share} of the targeted attacks arrive. Those that do are {angle} rad from the
        target's vertex, no further off than points that leap where they like.""",
    few="""Only {share} of the targeted attacks arrive, too few to say where they stand.""",
)
def targets(seeds: list[Seed]) -> Outcome:
    records = [seed[ST.title] for seed in seeds]
    share = np.array([float(r.changed("targeted", "share")) for r in records])
    if share.min() < 0.1:
        return "few", {"share": _range(share, ".0%")}
    angle, leap = (
        np.array([mean(r.changed(group, "angle")) for r in records])
        for group in ("targeted", "pgd")
    )
    return "arrive" if (angle > leap).all() else "near", {
        "share": _range(share, ".0%"),
        "angle": _range(angle),
        "more": _range(angle - leap, ".1g"),
    }


@finding(
    ST,
    falls="""Up to radius {radius}/255 accuracy falls from {first} to {last}, and NC1 grows
        {times} times; at {at}/255 it has grown {half} times.""",
    stays="""Up to radius {radius}/255 accuracy goes from {first} to {last}, and NC1 grows
        {times} times: no attack of these sizes defeats the network.""",
)
def over_radii(seeds: list[Seed]) -> Outcome:
    records = [seed[ST.title] for seed in seeds]
    accuracy, nc1 = (np.array([r.swept(name) for r in records]) for name in ("accuracy", "nc1"))
    radii = records[0].radii
    middle = len(radii) // 2
    return "falls" if (accuracy[:, -1] < 0.5 * accuracy[:, 0]).all() else "stays", {
        "radius": f"{radii[-1]:g}",
        "first": _range(accuracy[:, 0], ".0%"),
        "last": _range(accuracy[:, -1], ".0%"),
        "times": _range(nc1[:, -1] / nc1[:, 0]),
        "half": _range(nc1[:, middle] / nc1[:, 0]),
        "at": f"{radii[middle]:g}",
    }


# Adversarial training ------------------------------------------------------------------------


@finding(
    ST,
    AT,
    fits="""AT fits {at} of the attacked points, ST {st}. The price shows on test points: AT is
        right on {test} of them, and on {robust} under attack.""",
    short="""AT fits {at} of the attacked points, ST {st}: it has not come to the end of its
        training. On test points it is right on {test}, and on {robust} under attack.""",
)
def at_fits(seeds: list[Seed]) -> Outcome:
    at, st = (_ends(seeds, method, "pgd", "accuracy") for method in (AT, ST))
    test, robust = (np.array([s[AT.title].test(p) for s in seeds]) for p in ("clean", "pgd"))
    return "fits" if at.min() >= 0.99 else "short", {
        "at": _range(at, ".0%"),
        "st": _range(st, ".0%"),
        "test": _range(test, ".0%"),
        "robust": _range(robust, ".0%"),
    }


@finding(
    AT,
    holds="""AT collapses on both kinds of points: all {tests} tests of C7 are met. NC1/(K−1)
        ends at {clean} on clean and at {attacked} on attacked points.""",
    other="""Under AT, NC1/(K−1) ends at {clean} on clean and at {attacked} on attacked points;
        {met} of the {tests} tests of C7 are met at every seed.""",
)
def at_collapses(seeds: list[Seed]) -> Outcome:
    verdict = _verdict(seeds, "C7")
    return HOLDS if verdict.verdict == HOLDS else "other", _met(verdict) | {
        "clean": _range(_spread(seeds, AT, "clean")),
        "attacked": _range(_spread(seeds, AT, "pgd")),
    }


@finding(
    AT,
    one="""Clean and attacked means of a class are {angle} rad apart, and both are simplices:
        the two are one.""",
    near="""Clean and attacked means of a class are {angle} rad apart, where unrelated
        directions are 1.57 apart. They lie close together, but at this point of the training
        they are not both simplices, so that C8 does not apply.""",
    apart="""Clean and attacked means of a class are {angle} rad apart: the two do not
        agree.""",
)
def simplices_agree(seeds: list[Seed]) -> Outcome:
    verdict = _verdict(seeds, "C8")
    angle = [seed[AT.title].angle("alignment") for seed in seeds]
    near = "near" if verdict.meets(0) else "apart"
    return "one" if verdict.verdict == HOLDS else near, {"angle": _range(angle)}


@finding(
    ST,
    AT,
    more="""On clean points AT keeps {within} times the variance of ST within its classes, and
        {nc1} times its NC1.""",
    mixed="""On clean points AT has {within} times the variance of ST within its classes, and
        {nc1} times its NC1: not more at every seed and in both senses.""",
)
def at_keeps_variance(seeds: list[Seed]) -> Outcome:
    within, nc1 = (
        _ends(seeds, AT, "clean", name) / _ends(seeds, ST, "clean", name)
        for name in ("within", "nc1")
    )
    return "more" if min(within.min(), nc1.min()) > 1 else "mixed", {
        "within": _range(within),
        "nc1": _range(nc1),
    }


@finding(
    AT,
    same="""Under attack the network is right on {network} of the training points and the NCC
        classifier on {ncc}; on test points on {test} and {test_ncc}.""",
    less="""Under attack the network is right on {network} of the training points and the NCC
        classifier on {ncc}; on test points on {test} and {test_ncc}: not the same within five
        points.""",
)
def ncc_is_robust(seeds: list[Seed]) -> Outcome:
    verdict = _verdict(seeds, "C10")
    network, ncc = (_ends(seeds, AT, "pgd", name) for name in ("accuracy", "ncc_accuracy"))
    test, test_ncc = (
        [seed[AT.title].geometry("test_pgd", name) for seed in seeds]
        for name in ("accuracy", "ncc_accuracy")
    )
    same = all(verdict.meets(number) for number in range(len(verdict.claim.conditions)))
    return "same" if same else "less", {
        "network": _range(network, ".0%"),
        "ncc": _range(ncc, ".0%"),
        "test": _range(test, ".0%"),
        "test_ncc": _range(test_ncc, ".0%"),
    }


# TRADES --------------------------------------------------------------------------------------


@finding(
    AT,
    TRADES,
    further="""TRADES as published is further from collapse than AT in NC1: {clean} times on
        clean and {attacked} times on attacked points.""",
    closer="""TRADES as published is closer to collapse than AT in NC1: {clean} times AT's on
        clean and {attacked} times on attacked points.""",
    mixed="""TRADES as published has {clean} times the NC1 of AT on clean and {attacked} times
        on attacked points: neither is closer to collapse throughout.""",
)
def trades_beside_at(seeds: list[Seed]) -> Outcome:
    clean, attacked = (
        _ends(seeds, TRADES, points, "nc1") / _ends(seeds, AT, points, "nc1")
        for points in ("clean", "pgd")
    )
    both = np.concatenate([clean, attacked])
    outcome = "further" if both.min() > 1 else "closer" if both.max() < 1 else "mixed"
    return outcome, {"clean": _range(clean), "attacked": _range(attacked)}


@finding(
    TRADES,
    TRADES_FROZEN,
    further="""With BatchNorm frozen NC1 is {clean} times that of TRADES as published on clean
        and {attacked} times on attacked points, and {count} of {of} comparisons of NC1 to NC3
        are further from collapse.""",
    mixed="""With BatchNorm frozen NC1 is {clean} times that of TRADES as published on clean and
        {attacked} times on attacked points; {count} of {of} comparisons of NC1 to NC3 are
        further from collapse, so that freezing does not clearly make the difference.""",
)
def freezing_hinders(seeds: list[Seed]) -> Outcome:
    ratios = {
        (measure, points): _ends(seeds, TRADES_FROZEN, points, measure)
        / _ends(seeds, TRADES, points, measure)
        for measure in ("nc1", "nc2_norms", "nc2_angles", "nc3")
        for points in ("clean", "pgd")
    }
    further = np.concatenate(list(ratios.values())) > 1
    return "further" if further.mean() >= 0.75 else "mixed", {
        "clean": _range(ratios["nc1", "clean"]),
        "attacked": _range(ratios["nc1", "pgd"]),
        "count": str(int(further.sum())),
        "of": str(len(further)),
    }


@finding(
    TRADES,
    TRADES_FROZEN,
    both="""Both variants have converged: over the last tenth of the epochs the loss that they
        minimise is {own} (as published) and {frozen} (frozen) of that of guessing.""",
    one="""Not both variants have converged at every seed: over the last tenth of the epochs the
        loss that they minimise is {own} (as published) and {frozen} (frozen) of that of
        guessing, and we ask for 1 %. So the comparison is also one of how fast they learn.""",
    neither="""Neither variant has converged: over the last tenth of the epochs the loss that
        they minimise is {own} (as published) and {frozen} (frozen) of that of guessing, and we
        ask for 1 %. So whether they end in simplices cannot be said at this length of training,
        and the comparison is also one of how fast they learn.""",
)
def trades_converges(seeds: list[Seed]) -> Outcome:
    premises = {claim: _verdict(seeds, claim) for claim in ("C11o", "C11")}
    own, frozen = (verdict.premises[0] for verdict in premises.values())
    converged = all(verdict.applicable.all() for verdict in premises.values())
    some = any(verdict.applicable.any() for verdict in premises.values())
    return "both" if converged else "one" if some else "neither", {
        "own": _range(own, ".1%"),
        "frozen": _range(frozen, ".1%"),
    }


# Layers --------------------------------------------------------------------------------------


@finding(
    ST,
    holds="""On clean points NC1 falls from {first} in the first layer to {last} in the last.
        The NCC classifier of the first layer is right on {early} of the attacked points
        ({clean} of the clean ones), that of the last on {late}.""",
    other="""On clean points NC1 goes from {first} in the first layer to {last} in the last. The
        NCC classifier of the first layer is right on {early} of the attacked points ({clean} of
        the clean ones), that of the last on {late}.""",
)
def depth(seeds: list[Seed]) -> Outcome:
    verdict = _verdict(seeds, "C12")
    records = [seed[ST.title] for seed in seeds]
    nc1 = np.array([r.layer_curve("clean", "nc1")[[0, -1]] for r in records])
    ncc = np.array([r.layer_curve("pgd", "ncc_accuracy")[[0, -1]] for r in records])
    return HOLDS if verdict.meets(0) else "other", {
        "first": _range(nc1[:, 0]),
        "last": _range(nc1[:, 1]),
        "early": _range(ncc[:, 0], ".0%"),
        "clean": _range([r.layer_curve("clean", "ncc_accuracy")[0] for r in records], ".0%"),
        "late": _range(ncc[:, 1], ".0%"),
    }


@finding(
    ST,
    nothing="""What the first layer keeps is not learnt: on the same attacked points the NCC
        classifier is right on {layer} in the trained first layer, on {untrained} in the same
        layer before training, and on {pixels} in the pixels themselves.""",
    something="""The first layer keeps more than it had before training: on the same attacked
        points the NCC classifier is right on {layer} in the trained first layer, on {untrained}
        in the same layer before training, and on {pixels} in the pixels themselves.""",
)
def early_layers_beside_pixels(seeds: list[Seed]) -> Outcome:
    records = [seed[ST.title] for seed in seeds]
    layer = np.array([r.layer_curve("pgd", "ncc_accuracy")[0] for r in records])
    untrained = np.array([r.untrained("pgd")[0] for r in records])
    pixels = np.array([r["baselines"]["pixels"]["pgd"] for r in records])
    more = (layer - np.maximum(untrained, pixels)).min() > 0.05
    return "something" if more else "nothing", {
        "layer": _range(layer, ".0%"),
        "untrained": _range(untrained, ".0%"),
        "pixels": _range(pixels, ".0%"),
    }


@finding(
    AT,
    TRADES,
    TRADES_FROZEN,
    told="""Under attack NCC accuracy goes from the first to the last layer from {AT} with AT,
        from {TRADES} with TRADES, and from {frozen} where BatchNorm is frozen.""",
)
def depth_of_robust_networks(seeds: list[Seed]) -> Outcome:
    def ends(method: Method) -> str:
        curves = np.array([s[method.title].layer_curve("pgd", "ncc_accuracy") for s in seeds])
        return f"{_range(curves[:, 0], '.0%')} to {_range(curves[:, -1], '.0%')}"

    return "told", {"AT": ends(AT), "TRADES": ends(TRADES), "frozen": ends(TRADES_FROZEN)}


# Stronger attacks ----------------------------------------------------------------------------


@finding(
    ST,
    lost="""Attacked at the network's output, the NCC classifier of the first layer of ST keeps
        {output} of the points; attacked itself, {adaptive}. In the last layer it keeps {late}.
        So it is no classifier to rely on, though it is not as broken as the network's end.""",
    gone="""Attacked at the network's output, the NCC classifier of the first layer of ST keeps
        {output} of the points; attacked itself, {adaptive}, about as little as the last layer
        ({late}).""",
    kept="""Attacked at the network's output, the NCC classifier of the first layer of ST keeps
        {output} of the points; attacked itself, still {adaptive}. In the last layer it keeps
        {late}.""",
)
def early_layers_attacked(seeds: list[Seed]) -> Outcome:
    output = np.array([seed[ST.title].layer_curve("pgd", "ncc_accuracy")[0] for seed in seeds])
    ends = [seed[ST.title]["stronger"]["layers"]["ncc_accuracy"] for seed in seeds]
    first, last = np.array([[curve[0], curve[-1]] for curve in ends]).T
    outcome = "kept" if first.min() >= 0.5 else "lost" if (first > last + 0.05).all() else "gone"
    return outcome, {
        "output": _range(output, ".0%"),
        "adaptive": _range(first, ".0%"),
        "late": _range(last, ".0%"),
    }


@finding(
    AT,
    TRADES,
    TRADES_FROZEN,
    little="""Stronger attacks take {AT} points of robust accuracy from AT, {TRADES} from TRADES
        and {frozen} where BatchNorm is frozen: little more than the first attack found.""",
    much="""Stronger attacks take {AT} points of robust accuracy from AT, {TRADES} from TRADES
        and {frozen} where BatchNorm is frozen: the first attack had not found all.""",
)
def stronger_finds(seeds: list[Seed]) -> Outcome:
    def taken(method: Method) -> np.ndarray:
        ends = [s[method.title]["stronger"]["end"]["pgd"]["accuracy"] for s in seeds]
        return 100 * (_ends(seeds, method, "pgd", "accuracy") - np.array(ends))

    points = {"AT": taken(AT), "TRADES": taken(TRADES), "frozen": taken(TRADES_FROZEN)}
    most = max(values.max() for values in points.values())
    return "little" if most <= 5 else "much", {n: _range(v, ".1f") for n, v in points.items()}


@finding(
    ST,
    more="""Of targeted attacks on ST {before} arrive, and {after} with the longer ones.""",
    same="""Of targeted attacks on ST {before} arrive, and no more with the longer ones.""",
)
def longer_targets(seeds: list[Seed]) -> Outcome:
    before = np.array([seed[ST.title].targeted_success for seed in seeds])
    ends = [seed[ST.title]["stronger"]["leaping"]["targeted_success"] for seed in seeds]
    return "more" if (np.array(ends) > before).all() else "same", {
        "before": _range(before, ".0%"),
        "after": _range(ends, ".0%"),
    }
