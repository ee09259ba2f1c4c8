"""What the chapter on perturbation analysis says of its results, whichever way they turn out."""

from __future__ import annotations

import numpy as np

from rnc.neighbours.perturbation.claims import NAMES, TRAINED_ON
from rnc.neighbours.perturbation.experiments import Settings
from rnc.study.findings import Text
from rnc.study.findings.finding import span


def on_flow(measured: dict) -> Text:
    """Whether R falls all along the flow, and how far."""
    paths = [path for found in measured["path"] for path in found["paths"]]
    ends = [path["ratio"][-1] / path["ratio"][0] for path in paths]
    monotone = all(path["step"] <= 0 for path in paths)
    off = max(path["off"] for path in paths)
    said = "falls at every step" if monotone else "does not fall at every step"
    return Text(
        f"Along {len(paths)} flows from random features R {said}; at the end, or where nothing is "
        f"left of the variance within classes, it is {span(ends, '.0e')} of what it was. The two "
        f"rates differ from the derivatives by at most {off:.0e}."
    )


def on_pull(measured: dict) -> Text:
    """From which pull on R falls, and how near the first order is."""
    shapes = [shape for found in measured["pull"] for shape in found["shapes"]]
    changes = np.array([shape["minimiser"] for shape in shapes])
    enough = np.array([np.array(s["beta"]) >= s["enough"] for s in shapes])
    falls = bool((changes[enough] <= 0).all())
    below = (changes[~enough] <= 0).mean() if (~enough).any() else None
    own = [found["shapes"][0] for found in measured["pull"]]
    # the weakest of these pulls that was tried, and the strongest
    first = int(np.argmax(np.array(own[0]["beta"]) >= max(shape["enough"] for shape in own)))
    weak, strong = ([shape["minimiser"][at] + 1 for shape in own] for at in (first, -1))
    said = "R of every minimiser is lower" if falls else "R of some minimisers is not lower"
    text = (
        f"At pulls of at least 1/(2w) − u {said} than that of the given features, "
        f"in the first of the shapes {span(weak, '.2f')} times at β = {own[0]['beta'][first]:g} "
        f"and {span(strong, '.4f')} times at β = {own[0]['beta'][-1]:g}."
    )
    if below is not None:
        text += f" At weaker pulls it is lower in {below:.0%} of the cases."
    return Text(text)


def on_directions(measured: dict) -> Text:
    """How well deviations shrink as they should along each direction."""
    shapes = [shape for found in measured["pull"] for shape in found["shapes"]]
    error = max(max(shape["identity"]) for shape in shapes)
    losses = max(max(shape["losses"]) for shape in shapes)
    return Text(
        f"The largest error over all shapes, pulls and directions, by two optimisers, is "
        f"{error:.0e} of the largest deviation; the two end at losses that differ by {losses:.0e}."
    )


def on_response(measured: dict) -> Text:
    """How far spectra are from the exact form and from the first order."""
    found = measured["response"]
    exact = max(max(of[name] for name in ("full", "own", "other")) for of in found)
    paper = [of["paper"] for of in found]
    return Text(
        f"Spectra by implicit differentiation are those of the closed form to {exact:.0e}. The "
        f"form to the first order is off by up to {span(paper, '.2f')} (s/β)². Collapsed features "
        f"stay where they are to {max(of['fixed'] for of in found):.0e}."
    )


def on_decays(measured: dict) -> Text:
    """Which way the smallest singular value goes with each decay."""
    ways = []
    for by, name in (("by_u", "u, the decay of the features"), ("by_w", "w, of the classifier")):
        steps = np.concatenate([of[by]["steps"] for of in measured["response"]])
        way = "falls" if (steps < 0).all() else "rises" if (steps > 0).all() else "turns"
        ways.append(f"{way} with {name}")
    return Text(f"The smallest singular value {', and '.join(ways)}.")


def _last_over_first(measured: dict, method: str, points: str, measure: str) -> list[float]:
    curves = [found[method][points][measure] for found in measured["digits"]]
    return [curve[-1] / curve[0] for curve in curves]


def _each(measured: dict, measure: str, kinds: tuple) -> str:
    return ", ".join(
        f"{method} {NAMES[points]} "
        f"{span(_last_over_first(measured, method, points, measure), '.2f')}"
        for method, points in kinds
    )


def on_attack(measured: dict, settings: Settings) -> Text:
    """The radius, and what the attack leaves."""
    left = {
        method: span([of[method]["accuracy"]["pgd"] for of in measured["digits"]], ".0%")
        for method in ("ST", "AT")
    }
    return Text(
        f"Attacks are of radius {settings.eps:g}/255 (ℓ∞), in the training of AT and after. ST is "
        f"right on {left['ST']} of its attacked points, AT on {left['AT']}."
    )


def on_depth(measured: dict) -> Text:
    """What depth does to R where features were trained, and on attacked points of ST."""
    trained = [_last_over_first(measured, *kind, "ratio") for kind in TRAINED_ON]
    start = _last_over_first(measured, "start", "clean", "ratio")
    attacked = _last_over_first(measured, "ST", "pgd", "ratio")
    helps = max(map(max, trained)) < min(start) and max(map(max, trained)) < 1
    said = (
        "Depth lowers R on what was trained on"
        if helps
        else "Depth does not lower R everywhere on what was trained on"
    )
    return Text(
        f"{said}: after the last block over after the embedding it is "
        f"{_each(measured, 'ratio', TRAINED_ON)}, and at the start of the training "
        f"{span(start, '.2f')}. On attacked points of ST it is {span(attacked, '.2f')}."
    )


def on_span(measured: dict) -> Text:
    """Whether deviations leave the span of the means."""
    trained = [_last_over_first(measured, *kind, "share") for kind in TRAINED_ON]
    attacked = _last_over_first(measured, "ST", "pgd", "share")
    leaves = max(map(max, trained)) < 1
    said = "is less than after the embedding" if leaves else "is not less throughout"
    reverse = (
        "more on attacked points of ST"
        if min(attacked) > 1
        else "less on attacked points of ST too"
        if max(attacked) < 1
        else "more or less on attacked points of ST"
    )
    return Text(
        "After the last block the share of the variance within classes that lies in the span of "
        f"the means {said} on what was trained on, and {reverse}: last over first "
        f"{_each(measured, 'share', (*TRAINED_ON, ('ST', 'pgd')))}."
    )


def on_traces(measured: dict) -> Text:
    """Whether the variance within classes itself falls."""
    within = [_last_over_first(measured, *kind, "within") for kind in TRAINED_ON]
    if min(map(min, within)) > 1:
        said = "Tr Σ_W itself is larger in the last layer: R falls because the means spread more"
    elif max(map(max, within)) < 1:
        said = "Tr Σ_W itself is smaller in the last layer"
    else:
        said = "Tr Σ_W itself is smaller in the last layer of some networks, and larger of others"
    return Text(
        f"{said}: last over first {_each(measured, 'within', TRAINED_ON)}; Tr Σ_B "
        f"{_each(measured, 'between', TRAINED_ON)}."
    )


def on_blocks(measured: dict) -> Text:
    """How near a trained block comes to the model."""
    blocks = [block for found in measured["digits"] for block in found["blocks"]]
    loss = [block["loss"] - 1 for block in blocks]
    off = [abs(block["block"] / block["model"] - 1) for block in blocks]
    lower = sum(block["block"] < block["given"] for block in blocks)
    bound = "Never below" if min(loss) > -1e-6 else "Sometimes below"
    return Text(
        f"{bound} the free minimum, blocks end {span([100 * x for x in loss], '.1f')} % above it; "
        f"R falls at {lower} of {len(blocks)}, and is off that of the model by "
        f"{np.median(off):.1%} in the median and {max(off):.0%} at most. Features of "
        "a block end "
        f"{span([b['apart'] for b in blocks], '.2f')} times as far from those of the model, in "
        "squared distance, as these went."
    )
