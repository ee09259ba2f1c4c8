"""What the chapters find that go past the paper."""

from __future__ import annotations

import math

import numpy as np

from rnc.study.claims import HOLDS, Seed
from rnc.study.findings.finding import (
    MORE,
    Outcome,
    end_values,
    finding,
    geometry_values,
    share_of,
    span,
    spreads,
    verdict_of,
)
from rnc.study.methods import AT, AT_FROZEN, ST, TRADES, TRADES_FROZEN, Method
from rnc.study.record import Record
from rnc.study.settings import named_seeds

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
        {output} of the points; attacked itself, {adaptive}. In the last layer it keeps
        {late}.""",
)
def early_layers_attacked(seeds: list[Seed]) -> Outcome:
    output = np.array([seed[ST.title].layer_curve("pgd", "ncc_accuracy")[0] for seed in seeds])
    ends = [seed[ST.title]["stronger"]["layers"]["ncc_accuracy"] for seed in seeds]
    first, last = np.array([[curve[0], curve[-1]] for curve in ends]).T
    little, more = first < 0.5, first > last + 0.05
    gone = "gone" if (little & ~more).all() else "kept"
    return "lost" if (little & more).all() else gone, {
        "output": span(output, ".0%"),
        "adaptive": span(first, ".0%"),
        "late": span(last, ".0%"),
    }


@finding(
    AT,
    TRADES,
    TRADES_FROZEN,
    ST,
    little="""Stronger attacks take {AT} points of robust accuracy from AT, {TRADES} from TRADES
        and {frozen} where BatchNorm is frozen: little more than the first attack found. From ST
        they take {ST}.""",
    much="""Stronger attacks take {AT} points of robust accuracy from AT, {TRADES} from TRADES
        and {frozen} where BatchNorm is frozen: the first attack had not found all. From ST they
        take {ST}.""",
)
def stronger_finds(seeds: list[Seed]) -> Outcome:
    def taken(method: Method) -> np.ndarray:
        ends = [s[method.title]["stronger"]["end"]["pgd"]["accuracy"] for s in seeds]
        return 100 * (end_values(seeds, method, "pgd", "accuracy") - np.array(ends))

    points = {"AT": taken(AT), "TRADES": taken(TRADES), "frozen": taken(TRADES_FROZEN)}
    most = max(values.max() for values in points.values())
    points["ST"] = taken(ST)
    return "little" if most <= 5 else "much", {n: span(v, ".1f") for n, v in points.items()}


@finding(
    AT,
    holds="""Under stronger attacks of the same radius NC1/(K−1) of attacked points of AT ends at
        {nc1}, and all tests of C7 are met still.""",
    other="""Under stronger attacks of the same radius NC1/(K−1) of attacked points of AT ends at
        {nc1}: the verdict on C7 is then “{verdict}”, and that on C8 “{aligned}”.""",
)
def at_collapses_under_stronger(seeds: list[Seed]) -> Outcome:
    stronger = [{AT.title: seed[AT.title].under_stronger()} for seed in seeds]
    verdict, aligned = (verdict_of(stronger, claim).verdict for claim in ("C7", "C8"))
    return HOLDS if verdict == HOLDS else "other", {
        "nc1": span(spreads(stronger, AT, "pgd"), ".3g"),
        "verdict": verdict,
        "aligned": aligned,
    }


@finding(
    AT,
    same="""Each attacked itself, the network of AT is right on {network} of the training points
        and its NCC classifier on {ncc}; on test points on {test} and {test_ncc}.""",
    less="""Each attacked itself, the network of AT is right on {network} of the training points
        and its NCC classifier on {ncc}; on test points on {test} and {test_ncc}. Both times within
        five points, and nearer to each other than the network is to guessing, they are at
        {seeds}.""",
)
def ncc_withstands(seeds: list[Seed]) -> Outcome:
    verdict = verdict_of(seeds, "C10a")
    shown = {
        "network": ("train", "network"),
        "ncc": ("train", "ncc"),
        "test": ("test", "network"),
        "test_ncc": ("test", "ncc"),
    }
    same = verdict.met_at()
    return "same" if all(same) else "less", {"seeds": share_of(same)} | {
        name: span((seed[AT.title].attacked(*of) for seed in seeds), ".0%")
        for name, of in shown.items()
    }


@finding(
    ST,
    more="""Of targeted attacks on ST {before} arrive, and {after} with the longer ones.""",
    same="""Of targeted attacks on ST {before} arrive, and {after} with the longer ones: more at
        {seeds}.""",
)
def longer_targets(seeds: list[Seed]) -> Outcome:
    before = np.array([seed[ST.title].targeted_success for seed in seeds])
    ends = [seed[ST.title]["stronger"]["leaping"]["targeted_success"] for seed in seeds]
    more = np.array(ends) > before
    return "more" if more.all() else "same", {
        "seeds": share_of(more),
        "before": span(before, ".0%"),
        "after": span(ends, ".0%"),
    }


@finding(
    AT,
    TRADES,
    TRADES_FROZEN,
    sound="""The attack is not what fails: at {radius}/255 it leaves at most {last} of the points
        of any of these networks, {count} random starts take at most {starts} points of accuracy
        more than one does, and perturbations that were made for ST leave {transfer} where each
        network's own leave {own}{idle}.""",
    unsound="""Not every check of the attack is passed: at {radius}/255 it leaves up to {last} of
        the points of a network, {count} random starts take up to {starts} points of
        accuracy more than one does, and perturbations that were made for ST leave {transfer}
        where each network's own leave {own}{idle}.""",
)
def attack_is_sound(seeds: list[Seed]) -> Outcome:
    records = [s[method.title] for s in seeds for method in (AT, TRADES, TRADES_FROZEN)]
    found = [record["checks"] for record in records]
    last = np.array([checks["accuracy"][-1] for checks in found])
    starts = np.array([checks["starts"] for checks in found])
    transfer = np.array([checks["transfer"] for checks in found])
    own = np.array([record.end("pgd", "accuracy") for record in records])
    taken = 100 * (starts[:, 0] - starts[:, -1])
    idle = [
        method.title
        for method in (AT, TRADES, TRADES_FROZEN)
        if min(seed[method.title].end("pgd", "accuracy") for seed in seeds) >= 0.99
    ]
    whose = "their own take so few that"
    if len(idle) < 3:
        whose = f"on {' and '.join(idle)} {whose} there"
    sound = last.max() <= 0.01 and taken.max() <= 5 and (transfer >= own).all()
    return "sound" if sound else "unsound", {
        "radius": f"{found[0]['radii'][-1]:g}",
        "last": f"{last.max():.1%}",
        "count": str(starts.shape[1]),
        "starts": f"{taken.max():.1f}",
        "transfer": span(transfer, ".0%"),
        "own": span(own, ".0%"),
        "idle": f"; {whose} the last of these can show little" * bool(idle),
    }


@finding(
    AT,
    agrees="""On the first {points} points of each kind, as many of each class, AutoAttack leaves,
        and in brackets PGD there and on all points: {left}. It takes at most {most} of {points}
        points more than PGD ({which}). Without an attack the networks are right on {clean} of
        these test points, and on {clean_all} of all.""",
    differs="""On the first {points} points of each kind, as many of each class, AutoAttack leaves,
        and in brackets PGD there and on all points: {left}. It takes up to {most} of {points}
        points more than PGD ({which}): PGD had not found all. Without an attack the networks are
        right on {clean} of these test points, and on {clean_all} of all.""",
)
def autoattack_finds(seeds: list[Seed]) -> Outcome:
    points, taken, left = seeds[0][AT.title]["autoattack"]["train"]["points"], [], []
    clean, clean_all = [], []
    for method in (AT, TRADES, TRADES_FROZEN):
        records = [seed[method.title] for seed in seeds if method.title in seed]
        records = [record for record in records if "autoattack" in record.measured]
        said = []
        clean += [record["autoattack"]["test"]["clean"] for record in records]
        clean_all += [record.test("clean") for record in records]
        for kind, name in (("train", "training"), ("test", "test")) * bool(records):
            pgd, auto = (
                np.array([record["autoattack"][kind][attack] for record in records])
                for attack in ("pgd", "autoattack")
            )
            all_points = [
                record.end("pgd", "accuracy") if kind == "train" else record.test("pgd")
                for record in records
            ]
            taken += list(pgd - auto)
            said.append(
                f"{span(auto, '.0%')} of the {name} points "
                f"({span(pgd, '.0%')}; {span(all_points, '.0%')})"
            )
        left += [f"of {method.title} {' and '.join(said)}"] * bool(records)
    outcome = "agrees" if max(taken) <= 0.05 + 1e-9 else "differs"
    return outcome, {
        "points": str(points),
        "left": "; ".join(left),
        "most": f"{max(0, round(points * max(taken)))}",
        "which": named_seeds(sorted(seed[AT.title].training.seed for seed in seeds)),
        "clean": span(clean, ".0%"),
        "clean_all": span(clean_all, ".0%"),
    }


# Leap or scatter, over radii -----------------------------------------------------------------


@finding(
    ST,
    all="""At every radius at which a tenth of the points or more change their label
        ({first}/255 to {last}/255) the changed points gather: NC1/(K−1) of their groups is
        {nc1}, where the lower of both kinds of scatter gives {null}. {means}""",
    some="""Of the {count} radii at which a tenth of the points or more change their label the
        changed points gather at {gathered}, at every seed: NC1/(K−1) of their groups over all is
        {nc1}, where the lower of both kinds of scatter gives {null}. {means}""",
    none="""At no radius do a tenth of the points change their label and gather at its vertex at
        every seed.""",
)
def leap_over_radii(seeds: list[Seed]) -> Outcome:
    def curve(group: str, name: str) -> np.ndarray:
        return np.array([seed[ST.title].swept_changed(group, name) for seed in seeds])

    radii = np.array(seeds[0][ST.title].radii)
    moved = np.array([seed[ST.title].enough_changed for seed in seeds]).all(0)
    nc1, null = (
        curve("pgd", "nc1"),
        np.fmin(curve("scatter", "nc1"), curve("scatter_in_span", "nc1")),
    )
    # the bounds of C4
    gathered = moved & ((nc1 <= 1) & (nc1 <= 0.5 * null)).all(0)
    if not gathered.any():
        return "none", {}
    angle, length, scattered, short = (
        curve(group, name) for group in ("pgd", "scatter_in_span") for name in ("angle", "length")
    )
    there = (angle <= 0.25 * seeds[0][ST.title].vertex_angle) & (angle < scattered)
    there &= (abs(length - 1) <= 0.25) & (abs(length - 1) < abs(short - 1))
    leaps = ", ".join(f"{radius:g}/255" for radius in radii[gathered & there.all(0)])
    of_moved = (span(values[:, moved].ravel()) for values in (angle, scattered, length))
    return "all" if (gathered == moved).all() else "some", {
        "means": "Their means are {} rad from the vertex, where scatter in the span gives {}, and "
        "{} times as long. By angle and mean length too they are at the vertices, and nearer than "
        "scatter, at every seed: ".format(*of_moved)
        + f"{leaps or 'nowhere'}.",
        "first": f"{radii[moved][0]:g}",
        "last": f"{radii[moved][-1]:g}",
        "count": str(moved.sum()),
        "gathered": str(gathered.sum()),
        "nc1": span(nc1[:, moved].ravel()),
        "null": span(null[:, moved].ravel()),
    }


# TRADES or BatchNorm -------------------------------------------------------------------------


@finding(
    AT,
    TRADES,
    TRADES_FROZEN,
    less="""TRADES minimises the divergence between the outputs of clean and attacked points, and
        at the end keeps it below that of AT: {trades} nats as published, {frozen} with BatchNorm
        frozen, {at} under AT.""",
    more="""At the end the divergence between the outputs of clean and attacked points is {trades}
        nats with TRADES as published, {frozen} with BatchNorm frozen and {at} under AT, which
        does not minimise it.""",
)
def outputs_move(seeds: list[Seed]) -> Outcome:
    # of every record, where along training it may be missing
    trades, frozen, at = (
        geometry_values(seeds, method, "kl") for method in (TRADES, TRADES_FROZEN, AT)
    )
    less = (np.maximum(trades, frozen) < at).all()
    shown = {"trades": trades, "frozen": frozen, "at": at}
    return "less" if less else "more", {name: span(values) for name, values in shown.items()}


AT_EQUAL_FIT = {
    "more": " At equal fit too it is further from collapse in NC1.",
    "less": " At equal fit it is closer to collapse in NC1.",
    "crosses": """ So the curves cross at every seed: half way it is closer to collapse in NC1,
        and further at the lowest loss, by a quarter or more both times at {clearly}.""",
    "mixed": """ At equal fit neither is further from collapse in NC1 by a quarter at both places
        and every seed.""",
}
TRADES_BESIDE_AT = """At the lowest cross-entropy on attacked points that both reach ({loss})
    TRADES has {nc1} times the NC1 of AT, {angles} times its angles of NC2 and {nc3} times its NC3;
    half way there from guessing, on the axis of the figure ({half}), {before} times its NC1 and
    {before3} times its NC3: values on straight lines of logarithms between snapshots, whose losses
    are up to {gap} times apart."""
FROZEN_BESIDE_TRADES = """At the lowest that TRADES with and without BatchNorm frozen reach
    ({loss}), the frozen one has {nc1} times the NC1, {angles} times the angles of NC2 and {nc3}
    times the NC3; half way there ({half}), {before} times the NC1 and {before3} times the
    NC3: values on straight lines of logarithms between snapshots, whose losses are up to {gap}
    times apart."""


@finding(AT, TRADES, **{name: TRADES_BESIDE_AT + end for name, end in AT_EQUAL_FIT.items()})
def trades_at_equal_loss(seeds: list[Seed]) -> Outcome:
    return _at_equal_loss(seeds, TRADES, AT)


@finding(
    TRADES,
    TRADES_FROZEN,
    **{name: FROZEN_BESIDE_TRADES + end for name, end in AT_EQUAL_FIT.items()},
)
def freezing_at_equal_loss(seeds: list[Seed]) -> Outcome:
    return _at_equal_loss(seeds, TRADES_FROZEN, TRADES)


def _at_equal_loss(seeds: list[Seed], method: Method, beside: Method) -> Outcome:
    pairs = [[seed[m.title] for m in (method, beside)] for seed in seeds]
    reached = [max(r.curve("pgd", "loss").min() for r in pair) for pair in pairs]
    half = [
        math.sqrt(loss * math.log(own.num_classes))
        for loss, (own, _) in zip(reached, pairs, strict=True)
    ]

    def ratios(measure: str, losses: list[float]) -> list[float]:
        at = zip(losses, pairs, strict=True)
        values = ([value_at_loss(r, measure, loss) for r in pair] for loss, pair in at)
        return [own / other for own, other in values]

    gaps = [
        losses[at - 1] / losses[at]
        for pair, *wanted in zip(pairs, reached, half, strict=True)
        for losses in (record.curve("pgd", "loss") for record in pair)
        for at in (_first_at(losses, loss) for loss in wanted)
        if at
    ]
    before, nc1 = ratios("nc1", half), ratios("nc1", reached)
    crosses = "crosses" if max(before) < 1 < min(nc1) else "mixed"
    less = "less" if max(before + nc1) < 1 / MORE else crosses
    return "more" if min(before + nc1) > MORE else less, {
        "gap": f"{max(gaps):.2g}",
        "loss": span(reached),
        "half": span(half),
        "before": span(before),
        "before3": span(ratios("nc3", half)),
        "clearly": share_of(b < 1 / MORE and a > MORE for b, a in zip(before, nc1, strict=True)),
        "nc1": span(nc1),
        "angles": span(ratios("nc2_angles", reached)),
        "nc3": span(ratios("nc3", reached)),
    }


@finding(
    AT_FROZEN,
    idle="""The fourth of the four, AT with BatchNorm frozen, learns nothing: after {epochs} epochs
        its loss is {loss} of that of guessing, and it is right on {accuracy} of its attacked
        points.""",
    learns="""The fourth of the four is AT with BatchNorm frozen: after {epochs} epochs its loss
        is {loss} of that of guessing, and it is right on {accuracy} of its attacked points.""",
)
def at_frozen_learns(seeds: list[Seed]) -> Outcome:
    records = [seed[AT_FROZEN.title] for seed in seeds]
    loss = np.array([r.history("loss")[-1] / np.log(r.num_classes) for r in records])
    accuracy = end_values(seeds, AT_FROZEN, "pgd", "accuracy")
    return "idle" if loss.min() > 0.9 else "learns", {
        "epochs": str(records[0].training.epochs),
        "loss": span(loss, ".0%"),
        "accuracy": span(accuracy, ".0%"),
    }


def _first_at(losses: np.ndarray, loss: float) -> int:
    """The snapshot at which a loss is first reached."""
    return int(np.argmax(losses <= loss))


def value_at_loss(record: Record, measure: str, loss: float) -> float:
    """A measure of attacked points where the cross-entropy on them first falls to a loss, between
    two snapshots on a straight line of logarithms."""
    losses, values = record.curve("pgd", "loss"), record.curve("pgd", measure)
    after = _first_at(losses, loss)
    if not after:
        return float(values[0])
    ends = slice(after - 1, after + 1)
    x, y = np.log(losses[ends]), np.log(values[ends])
    return float(np.exp(np.interp(np.log(loss), x[::-1], y[::-1])))


@finding(
    AT,
    TRADES,
    turns="""TRADES as published comes closest to a simplex within its training and then moves
        away: on attacked points the angles of NC2 end {end} off, and were {low} at their best;
        NC3 ends at {end3}, and was {low3}. Its logits end {trades} long, those of AT {at}.""",
    goes_on="""TRADES as published turns away from a simplex by a quarter, in both NC2 and NC3, at
        {seeds}: on attacked points the angles of NC2 end {end} off, and were {low} at
        their best; NC3 ends at {end3}, and was {low3}. Its logits end {trades} long, those of AT
        {at}.""",
)
def trades_turns(seeds: list[Seed]) -> Outcome:
    def lowest(measure: str) -> np.ndarray:
        return np.array([seed[TRADES.title].curve("pgd", measure).min() for seed in seeds])

    end, end3 = (end_values(seeds, TRADES, "pgd", name) for name in ("nc2_angles", "nc3"))
    low, low3 = lowest("nc2_angles"), lowest("nc3")
    turns = (end > MORE * low) & (end3 > MORE * low3)
    return "turns" if turns.all() else "goes_on", {
        "seeds": share_of(turns),
        "low": span(low),
        "end": span(end),
        "low3": span(low3),
        "end3": span(end3),
        "trades": span(geometry_values(seeds, TRADES, "logit_norm")),
        "at": span(geometry_values(seeds, AT, "logit_norm")),
    }


# Collapse without robustness -----------------------------------------------------------------


@finding(
    AT,
    apart="""Of the snapshots, accuracy on attacked test points is best after {epoch} epochs,
        {best}, and {end} at the end; meanwhile NC1 on attacked training points goes from {before}
        to {after}, and on attacked test points from {test_before} to {test}.""",
    best_last="""Accuracy on attacked test points is best at the end, {end}, or as good as before:
        robustness has not ended at this length of training. NC1 on attacked training points ends
        at {after}, and on attacked test points at {test}.""",
    together="""Accuracy on attacked test points is best after {epoch} epochs, {best}, and {end} at
        the end, when NC1 on attacked training points is {after} and on attacked test points
        {test}: from that snapshot on NC1 on attacked training points falls to less than half at
        {seeds}.""",
)
def collapse_without_robustness(seeds: list[Seed]) -> Outcome:
    records = [seed[AT.title] for seed in seeds]
    robust = [record.test_curve("test_pgd", "accuracy") for record in records]
    best = [int(curve.argmax()) for curve in robust]
    nc1 = [record.curve("pgd", "nc1") for record in records]
    before = np.array([curve[at] for curve, at in zip(nc1, best, strict=True)])
    after = np.array([curve[-1] for curve in nc1])
    on_test = [record.test_curve("test_pgd", "nc1") for record in records]
    lasts = all(curve[-1] == curve.max() for curve in robust)
    halved = after < before / 2
    return "best_last" if lasts else "apart" if halved.all() else "together", {
        "seeds": share_of(halved),
        "epoch": span([r.epochs[at] for r, at in zip(records, best, strict=True)], ".0f"),
        "best": span([curve.max() for curve in robust], ".0%"),
        "end": span([curve[-1] for curve in robust], ".0%"),
        "before": span(before),
        "after": span(after),
        "test_before": span([curve[at] for curve, at in zip(on_test, best, strict=True)]),
        "test": span([curve[-1] for curve in on_test]),
    }


# What early layers keep ----------------------------------------------------------------------


ATTACKED_ITSELF = """Attacked itself at {radius}/255, the NCC classifier of the first layer of ST
    keeps {first} of the points ({clean} without an attack), that of the last layer {last}; in the
    first layer before training it keeps {untrained}, on the pixels themselves {pixels}."""
AT_LEAST_RADIUS = """ At {least}/255 the first layer keeps {weak}, the better of the two {other},
    and the last layer {weak_last}."""
LEARNT = {
    "less": """ So there the first layer does not keep five points more than the better of what was
        not learnt.""",
    "more": " So the first layer has learnt something that resists.",
    "mixed": " More than what was not learnt, by five points, is kept at {seeds}.",
}


@finding(ST, **{name: ATTACKED_ITSELF + said + AT_LEAST_RADIUS for name, said in LEARNT.items()})
def early_layers_over_radii(seeds: list[Seed]) -> Outcome:
    found = [seed[ST.title]["early"] for seed in seeds]
    at = found[0]["radii"].index(seeds[0][ST.title].evaluation.attack.eps)
    kept = {
        name: np.array([early[name][at] for early in found])
        for name in ("first", "last", "untrained", "pixels")
    }
    more = kept["first"] > np.maximum(kept["untrained"], kept["pixels"]) + 0.05
    some = "mixed" if more.any() else "less"
    return "more" if more.all() else some, {
        "radius": f"{found[0]['radii'][at]:g}",
        "clean": span([early["clean"]["first"] for early in found], ".0%"),
        "seeds": share_of(more),
        "least": f"{found[0]['radii'][0]:g}",
        "weak": span([early["first"][0] for early in found], ".0%"),
        "weak_last": span([early["last"][0] for early in found], ".0%"),
        "other": span([max(early["untrained"][0], early["pixels"][0]) for early in found], ".0%"),
    } | {name: span(values, ".0%") for name, values in kept.items()}
