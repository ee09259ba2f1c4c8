"""What the chapters on the paper find."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rnc.study import nulls
from rnc.study.claims import HOLDS, PARTLY, Seed, are_met, collapse_tests, scattered_nc1
from rnc.study.findings.finding import (
    MORE,
    Outcome,
    end_values,
    finding,
    share_of,
    span,
    spreads,
    tests_met,
    verdict_of,
)
from rnc.study.methods import AT, ST, TRADES, TRADES_FROZEN, Method
from rnc.study.record import ENOUGH, mean

# Standard training ---------------------------------------------------------------------------


@finding(
    ST,
    defeated="""The network fits {clean} of its training points, and {noisy} of them with noise.
        PGD of the same size leaves {attacked}, and makes the loss {times} times as large.""",
    weakened="""The network fits {clean} of its training points, and {noisy} of them with noise.
        PGD of the same size leaves {attacked}: it takes more than noise does, and nine tenths
        of the points at {most}.""",
    unharmed="""The network fits {clean} of its training points, {noisy} of them with noise and
        {attacked} under PGD: an attack of this size takes more than noise does at
        {more}.""",
)
def st_fits(seeds: list[Seed]) -> Outcome:
    clean, noisy, attacked = (
        end_values(seeds, ST, points, "accuracy") for points in ("clean", "gauss", "pgd")
    )
    times = end_values(seeds, ST, "pgd", "loss") / end_values(seeds, ST, "clean", "loss")
    left = attacked.max() / clean.min()
    outcome = "defeated" if left <= 0.1 else "weakened" if (attacked < noisy).all() else "unharmed"
    return outcome, {
        "clean": span(clean, ".0%"),
        "noisy": span(noisy, ".0%"),
        "attacked": span(attacked, ".0%"),
        "times": span(times, ",.0f"),
        "most": share_of(attacked <= 0.1 * clean),
        "more": share_of(attacked < noisy),
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
    verdict = verdict_of(seeds, "C1")
    met = tests_met(verdict)
    outcome = HOLDS if all(verdict.met_at()) else PARTLY if int(met["met"]) else "other"
    return outcome, met | {"nc1": span(spreads(seeds, ST, "clean"))}


@finding(
    ST,
    intact="""Noise multiplies NC1 by {noise} and moves the angles of NC2 by {angles}; an attack
        of the same size multiplies NC1 by {attack}. So noise is not what disturbs it.""",
    brittle="""Noise multiplies NC1 by {noise} and moves the angles of NC2 by {angles}; an
        attack of the same size multiplies NC1 by {attack}. Noise leaves collapse intact at
        {intact}.""",
    absent="""Noise multiplies NC1 by {noise} and moves the angles of NC2 by {angles}; an attack
        of the same size multiplies NC1 by {attack}. On clean points collapse is there to be
        disturbed at {there}; where it is not, C2 does not apply.""",
)
def noise_is_harmless(seeds: list[Seed]) -> Outcome:
    clean = end_values(seeds, ST, "clean", "nc1")
    noise, attack = (end_values(seeds, ST, points, "nc1") / clean for points in ("gauss", "pgd"))
    angles = abs(
        end_values(seeds, ST, "gauss", "nc2_angles") - end_values(seeds, ST, "clean", "nc2_angles")
    )
    intact, there = (noise <= 2) & (angles <= 0.05), verdict_of(seeds, "C2").applicable
    outcome = "intact" if intact.all() else "brittle"
    return outcome if there.all() else "absent", {
        "intact": share_of(intact),
        "there": share_of(there),
        "noise": span(noise),
        "angles": span(angles, ".1g"),
        "attack": span(attack),
    }


@finding(
    ST,
    exaggerates="""Not every measure sees the same: the attack multiplies NC1 by {nc1}, but Tr
        Σ_W / Tr Σ_B by {traces} and CDNV by {cdnv}. NC1 weighs each direction by the inverse of
        the variance between classes there, and directions in which the attacked means hardly
        differ weigh most.""",
    agrees="""The attack multiplies NC1 by {nc1}, Tr Σ_W / Tr Σ_B by {traces} and CDNV by
        {cdnv}: NC1 by more than twice as much as the traces at {seeds}.""",
)
def beside_nc1(seeds: list[Seed]) -> Outcome:
    def times(value: Callable[[str], np.ndarray]) -> np.ndarray:
        return value("pgd") / value("clean")

    nc1 = times(lambda points: end_values(seeds, ST, points, "nc1"))
    traces = times(
        lambda points: (
            end_values(seeds, ST, points, "within") / end_values(seeds, ST, points, "between")
        )
    )
    cdnv = times(lambda points: np.array([s[ST.title].geometry(points, "cdnv") for s in seeds]))
    twice = nc1 > 2 * traces
    return "exaggerates" if twice.all() else "agrees", {
        "seeds": share_of(twice),
        "nc1": span(nc1),
        "traces": span(traces),
        "cdnv": span(cdnv),
    }


# Leaping -------------------------------------------------------------------------------------

GROUPED = """{share} of the points get another label. The means of their groups are {angle} rad
    from the clean means (scatter in their span: {null_angle}) and {length} times as long, averaged
    over classes, and NC1/(K−1) within these groups is {nc1}, where the lower of both kinds of
    scatter gives {null}"""


@finding(
    ST,
    leap="""{share} of the points get another label, and they leap: the means of their groups
        are, averaged over classes, {angle} rad from the clean vertices and {length} times as
        long. An angle that small proves little, since scatter within the span of the means,
        sorted by their directions, gives {null_angle} rad. But groups of points that scatter
        are diffuse: NC1/(K−1) of the less diffuse of both, there and in all directions, is
        {null}, and here it is {nc1}.""",
    near=f"""{GROUPED}: all tests of a leap are met, and what C4 takes for granted is so at
        {{there}} (not met: {{premises}}).""",
    cluster=f"{GROUPED}: they gather, and all tests of a leap are met at {{met}}.",
    diffuse=f"{GROUPED}: they gather, by our bounds, at {{gathered}}.",
    none="""{share} of the points get another label: enough, a tenth, to say where they go at
        {enough}.""",
)
def points_leap(seeds: list[Seed]) -> Outcome:
    def means(group: str, name: str) -> np.ndarray:
        return np.array([mean(seed[ST.title].changed(group, name)) for seed in seeds])

    share = means("pgd", "share")
    shares = {"share": span(share, ".0%"), "enough": share_of(share >= ENOUGH)}
    if share.min() < ENOUGH:
        return "none", shares
    verdict = verdict_of(seeds, "C4")
    met, gathered = verdict.met_at(), verdict.met_at(2, 3)
    outcome = "near" if all(met) else "cluster" if all(gathered) else "diffuse"
    holds = verdict.verdict == HOLDS and verdict.applicable.all()
    return "leap" if holds else outcome, shares | {
        "angle": span(means("pgd", "angle")),
        "null_angle": span(means("scatter_in_span", "angle")),
        "length": span(means("pgd", "length")),
        "nc1": span(means("pgd", "nc1")),
        "null": span(map(scattered_nc1, seeds)),
        "premises": "; ".join(verdict.failing_premises()),
        "there": share_of(verdict.applicable),
        "met": share_of(met),
        "gathered": share_of(gathered),
    }


@finding(
    ST,
    spread="""Means by *predicted* label are {predicted} times as long as the clean ones, means
        by *true* label {true} times, as where each class is spread over several vertices.""",
    kept="""Means by *predicted* label are {predicted} times as long as the clean ones, means by
        *true* label {true} times: less than three quarters of that, as where each class is spread
        over several vertices, at {seeds}.""",
)
def means_by_label(seeds: list[Seed]) -> Outcome:
    def length(name: str) -> np.ndarray:
        records = [seed[ST.title] for seed in seeds]
        return np.array(
            [mean(r.per_class(name)) / mean(r.per_class("clean_norms")) for r in records]
        )

    predicted, true = length("predicted_norms"), length("perturbed_norms")
    spread = true < 0.75 * predicted
    return "spread" if spread.all() else "kept", {
        "seeds": share_of(spread),
        "predicted": span(predicted),
        "true": span(true),
    }


@finding(
    ST,
    uneven="""Predicted labels are uneven: {away} of the points would have to move for equal
        counts, where uniform draws need {null} at most (99 of 100).""",
    even="""Predicted labels are far from even, by C6, at {seeds}: {away} of the points would have
        to move for equal counts, and uniform draws need up to {null}.""",
)
def some_classes_are_preferred(seeds: list[Seed]) -> Outcome:
    verdict = verdict_of(seeds, "C6")
    return "uneven" if verdict.meets(0) else "even", {
        "seeds": share_of(verdict.met_at()),
        "away": span(verdict.values[0], ".0%"),
        "null": span(verdict.nulls[0], ".0%"),
    }


@finding(
    ST,
    arrive="""{share} of the targeted attacks arrive. The means of those that do are {angle} rad
        from the target's vertex (scatter, of as many as an untargeted attack moves: {null}),
        {more} rad further off than the groups of untargeted attacks.""",
    near="""{share} of the targeted attacks arrive. The means of those that do are {angle} rad from
        the target's vertex (scatter, of as many as an untargeted attack moves: {null}), further
        off than the groups of untargeted attacks at {seeds}.""",
    few="""{share} of the targeted attacks arrive: enough, a tenth, to say where they stand at
        {enough}.""",
)
def targets(seeds: list[Seed]) -> Outcome:
    records = [seed[ST.title] for seed in seeds]
    share = np.array([float(r.changed("targeted", "share")) for r in records])
    shares = {"share": span(share, ".0%"), "enough": share_of(share >= ENOUGH)}
    if share.min() < ENOUGH:
        return "few", shares
    angle, leap, null = (
        np.array([mean(r.changed(group, "angle")) for r in records])
        for group in ("targeted", "pgd", "scatter_in_span")
    )
    return "arrive" if (angle > leap).all() else "near", shares | {
        "angle": span(angle),
        "null": span(null),
        "more": span(angle - leap),
        "seeds": share_of(angle > leap),
    }


@finding(
    ST,
    falls="""Up to radius {radius}/255 accuracy falls from {first} to {last}. NC1 is there {times}
        times what it is without an attack, and {half} times at {at}/255{peak}.""",
    stays="""Up to radius {radius}/255 accuracy goes from {first} to {last}, and NC1 is there
        {times} times what it is without an attack{peak}: attacks of these sizes take half of the
        points at {seeds}.""",
)
def over_radii(seeds: list[Seed]) -> Outcome:
    records = [seed[ST.title] for seed in seeds]
    accuracy, nc1 = (np.array([r.swept(name) for r in records]) for name in ("accuracy", "nc1"))
    radii, own = records[0].radii, records[0].evaluation.attack.eps
    middle = radii.index(own) if own in radii else len(radii) // 2
    most = nc1.mean(0).argmax()
    largest = f"; it is largest at {radii[most]:g}/255, {span(nc1[:, most] / nc1[:, 0])} times"
    halved = accuracy[:, -1] < 0.5 * accuracy[:, 0]
    return "falls" if halved.all() else "stays", {
        "seeds": share_of(halved),
        "radius": f"{radii[-1]:g}",
        "first": span(accuracy[:, 0], ".0%"),
        "last": span(accuracy[:, -1], ".0%"),
        "times": span(nc1[:, -1] / nc1[:, 0]),
        "half": span(nc1[:, middle] / nc1[:, 0]),
        "at": f"{radii[middle]:g}",
        "peak": largest * bool(most < len(radii) - 1),
    }


# Adversarial training ------------------------------------------------------------------------


@finding(
    ST,
    AT,
    fits="""AT fits {at} of the attacked points, ST {st}. On test points AT is right on {test} (ST
        on {plain}), and on {robust} under attack.""",
    short="""AT fits {at} of the attacked points, ST {st}; AT fits 99 of 100 at {seeds}. On test
        points AT is right on {test} (ST on {plain}), and on
        {robust} under attack.""",
)
def at_fits(seeds: list[Seed]) -> Outcome:
    at, st = (end_values(seeds, method, "pgd", "accuracy") for method in (AT, ST))
    test, robust = (np.array([s[AT.title].test(p) for s in seeds]) for p in ("clean", "pgd"))
    return "fits" if at.min() >= 0.99 else "short", {
        "seeds": share_of(at >= 0.99),
        "at": span(at, ".0%"),
        "st": span(st, ".0%"),
        "test": span(test, ".0%"),
        "plain": span([s[ST.title].test("clean") for s in seeds], ".0%"),
        "robust": span(robust, ".0%"),
    }


@finding(
    AT,
    holds="""AT collapses on both kinds of points: all {tests} tests of C7 are met. NC1/(K−1)
        ends at {clean} on clean and at {attacked} on attacked points; {bound} is asked for.""",
    other="""Under AT, NC1/(K−1) ends at {clean} on clean and at {attacked} on attacked points;
        {met} of the {tests} tests of C7 are met at every seed.""",
)
def at_collapses(seeds: list[Seed]) -> Outcome:
    verdict = verdict_of(seeds, "C7")
    return HOLDS if all(verdict.met_at()) else "other", tests_met(verdict) | {
        "bound": f"{verdict.claim.conditions[0].bound:g}",
        "clean": span(spreads(seeds, AT, "clean"), ".3g"),
        "attacked": span(spreads(seeds, AT, "pgd"), ".3g"),
    }


@finding(
    AT,
    one="""Clean and attacked means of a class are {angle} rad apart, and both are simplices:
        the two are one.""",
    near="""Clean and attacked means of a class are {angle} rad apart, where unrelated
        directions are 1.57 apart. They lie close together, but{of} something that C8 takes for
        granted is not so; not met: {premises}.""",
    apart="""Clean and attacked means of a class are {angle} rad apart: the two agree, by C8, at
        {agree}.""",
)
def simplices_agree(seeds: list[Seed]) -> Outcome:
    verdict = verdict_of(seeds, "C8")
    angle = [seed[AT.title].angle("alignment") for seed in seeds]
    applicable = verdict.applicable
    near = "one" if applicable.all() else "near"
    return near if verdict.meets(0) else "apart", {
        "angle": span(angle),
        "of": f" at {share_of(~applicable)}",
        "agree": share_of(verdict.met_at()),
        "premises": ", ".join(verdict.failing_premises()),
    }


@finding(
    ST,
    AT,
    apart="""The largest principal angle between the spans of attacked and of clean means is {st}
        rad under ST and {at} rad under AT, where random means give {null}: AT holds the attacked
        means nearer to the span of the clean ones. The effective rank of Σ_B goes from {st_clean}
        on clean to {st_attacked} on attacked points under ST, and from {at_clean} to
        {at_attacked} under AT; of a simplex it is {full}, of random means {random}{flat}.""",
    alike="""The largest principal angle between the spans of attacked and of clean means is {st}
        rad under ST and {at} rad under AT, where random means give {null}. The effective rank of
        Σ_B goes from {st_clean} on clean to {st_attacked} on attacked points under ST, and from
        {at_clean} to {at_attacked} under AT; of a simplex it is {full}, of random means
        {random}{flat}.""",
)
def spans_of_means(seeds: list[Seed]) -> Outcome:
    def largest(method: Method) -> np.ndarray:
        return np.array(
            [s[method.title]["geometry"]["pgd"]["principal_angles"][-1] for s in seeds]
        )

    def rank(method: Method, points: str) -> str:
        return span((s[method.title].geometry(points, "effective_rank") for s in seeds), ".2f")

    st, at = largest(ST), largest(AT)
    record = seeds[0][ST.title]
    size = record.num_classes, record.training.num_features
    (_, null), random = nulls.subspaces(*size), nulls.rank(*size)
    flat = {
        method.title: [
            s[method.title].geometry("clean", "effective_rank") <= random for s in seeds
        ]
        for method in (ST, AT)
    }
    below = [f"{title} at {share_of(so)}" for title, so in flat.items() if any(so)]
    return "apart" if (at < 0.75 * st).all() else "alike", {
        "st": span(st),
        "at": span(at),
        "null": span([null[-1]]),
        "st_clean": rank(ST, "clean"),
        "st_attacked": rank(ST, "pgd"),
        "at_clean": rank(AT, "clean"),
        "at_attacked": rank(AT, "pgd"),
        "full": str(record.num_classes - 1),
        "random": f"{random:.2f}",
        "flat": f", so that by this the clean means of {' and '.join(below)} are no nearer to a "
        "simplex than chance" * bool(below),
    }


@finding(
    ST,
    AT,
    more="""On clean points AT keeps {within} times the variance of ST within its classes, and
        {nc1} times its NC1{trained}.""",
    mixed="""On clean points AT has {within} times the variance of ST within its classes, and
        {nc1} times its NC1{trained}: not more at every seed and in both senses.""",
)
def at_keeps_variance(seeds: list[Seed]) -> Outcome:
    within, nc1 = (
        end_values(seeds, AT, "clean", name) / end_values(seeds, ST, "clean", name)
        for name in ("within", "nc1")
    )
    at, st = (seeds[0][method.title].training.epochs for method in (AT, ST))
    return "more" if min(within.min(), nc1.min()) > 1 else "mixed", {
        "within": span(within),
        "nc1": span(nc1),
        "trained": f", after {at} epochs where ST has {st}" * (at != st),
    }


@finding(
    AT,
    same="""Under attack the network is right on {network} of the training points and the NCC
        classifier on {ncc}; on test points on {test} and {test_ncc}.""",
    less="""Under attack the network is right on {network} of the training points and the NCC
        classifier on {ncc}; on test points on {test} and {test_ncc}. Both times within five
        points, and nearer to each other than the network is to guessing, they are at {seeds}.""",
)
def ncc_is_robust(seeds: list[Seed]) -> Outcome:
    verdict = verdict_of(seeds, "C10")
    network, ncc = (end_values(seeds, AT, "pgd", name) for name in ("accuracy", "ncc_accuracy"))
    test, test_ncc = (
        [seed[AT.title].geometry("test_pgd", name) for seed in seeds]
        for name in ("accuracy", "ncc_accuracy")
    )
    same = verdict.met_at()
    return "same" if all(same) else "less", {
        "seeds": share_of(same),
        "network": span(network, ".0%"),
        "ncc": span(ncc, ".0%"),
        "test": span(test, ".0%"),
        "test_ncc": span(test_ncc, ".0%"),
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
        on attacked points: neither network is closer to collapse by a quarter on both at every
        seed.""",
)
def trades_beside_at(seeds: list[Seed]) -> Outcome:
    clean, attacked = (
        end_values(seeds, TRADES, points, "nc1") / end_values(seeds, AT, points, "nc1")
        for points in ("clean", "pgd")
    )
    both = np.concatenate([clean, attacked])
    outcome = "further" if both.min() > MORE else "closer" if both.max() < 1 / MORE else "mixed"
    return outcome, {"clean": span(clean), "attacked": span(attacked)}


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
        (measure, points): end_values(seeds, TRADES_FROZEN, points, measure)
        / end_values(seeds, TRADES, points, measure)
        for measure in ("nc1", "nc2_norms", "nc2_angles", "nc3")
        for points in ("clean", "pgd")
    }
    further = np.concatenate(list(ratios.values())) > 1
    return "further" if further.mean() >= 0.75 else "mixed", {
        "clean": span(ratios["nc1", "clean"]),
        "attacked": span(ratios["nc1", "pgd"]),
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
    premises = {claim: verdict_of(seeds, claim) for claim in ("C11o", "C11")}
    own, frozen = (verdict.premises[0] for verdict in premises.values())
    converged = all(verdict.applicable.all() for verdict in premises.values())
    some = any(verdict.applicable.any() for verdict in premises.values())
    return "both" if converged else "one" if some else "neither", {
        "own": span(own, ".1%"),
        "frozen": span(frozen, ".1%"),
    }


@finding(
    AT,
    TRADES,
    TRADES_FROZEN,
    told="""Of the tests of collapse on clean and on attacked points AT meets at every seed, and
        TRADES at none: as published {own}; with BatchNorm frozen {frozen}. (A value within its
        bound and no better than chance does not meet a test.)""",
    none="""There is no test of collapse on clean or attacked points that AT meets at every
        seed.""",
)
def tests_that_set_trades_apart(seeds: list[Seed]) -> Outcome:
    def met(method: Method, points: str) -> np.ndarray:
        tests = collapse_tests(method, points)
        return np.array([are_met(tests, seed) for seed in seeds])

    def apart(method: Method) -> str:
        said = []
        for points, named in (("clean", "clean"), ("pgd", "attacked")):
            alone = met(AT, points).all(0) & ~met(method, points).any(0)
            tests = zip(collapse_tests(AT, points), alone, strict=True)
            names = [test.what.split(": ")[1] for test, one in tests if one]
            said.append(f"{', '.join(names) or 'none'} on {named} points")
        return " and ".join(said)

    some = any(met(AT, points).all(0).any() for points in ("clean", "pgd"))
    return "told" if some else "none", {"own": apart(TRADES), "frozen": apart(TRADES_FROZEN)}


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
    verdict = verdict_of(seeds, "C12")
    records = [seed[ST.title] for seed in seeds]
    nc1 = np.array([r.layer_curve("clean", "nc1")[[0, -1]] for r in records])
    ncc = np.array([r.layer_curve("pgd", "ncc_accuracy")[[0, -1]] for r in records])
    return HOLDS if verdict.meets(0) else "other", {
        "first": span(nc1[:, 0]),
        "last": span(nc1[:, 1]),
        "early": span(ncc[:, 0], ".0%"),
        "clean": span([r.layer_curve("clean", "ncc_accuracy")[0] for r in records], ".0%"),
        "late": span(ncc[:, 1], ".0%"),
    }


@finding(
    ST,
    nothing="""What the first layer keeps is not learnt: on points that were attacked at the
        network's output the NCC classifier is right on {layer} in the trained first layer, on
        {untrained} in the same layer before training, and on {pixels} in the pixels
        themselves.""",
    something="""On points that were attacked at the network's output the NCC classifier is right
        on {layer} in the trained first layer ({layer_clean} of the clean points), on {untrained}
        in the same layer before training ({untrained_clean}), and on {pixels} in the pixels
        themselves ({pixels_clean}).""",
)
def early_layers_beside_pixels(seeds: list[Seed]) -> Outcome:
    records = [seed[ST.title] for seed in seeds]
    layer = np.array([r.layer_curve("pgd", "ncc_accuracy")[0] for r in records])
    untrained = np.array([r.untrained("pgd")[0] for r in records])
    pixels = np.array([r.pixels("pgd") for r in records])
    more = (layer > np.maximum(untrained, pixels) + 0.05).any()
    clean = {
        "layer_clean": [r.layer_curve("clean", "ncc_accuracy")[0] for r in records],
        "untrained_clean": [r.untrained("clean")[0] for r in records],
        "pixels_clean": [r.pixels("clean") for r in records],
    }
    attacked = {"layer": layer, "untrained": untrained, "pixels": pixels}
    return "something" if more else "nothing", {
        name: span(values, ".0%") for name, values in (attacked | clean).items()
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
        return f"{span(curves[:, 0], '.0%')} to {span(curves[:, -1], '.0%')}"

    return "told", {"AT": ends(AT), "TRADES": ends(TRADES), "frozen": ends(TRADES_FROZEN)}
