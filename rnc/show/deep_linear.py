"""Figures of the chapter on deep linear networks."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Affine2D

from rnc.neighbours.deep_linear.experiments import DEPTHS, SWEEP, Settings
from rnc.neighbours.deep_linear.theory import Optimum, Problem, jump, last_root, stationary
from rnc.show.ends import name_ends
from rnc.show.plots import GREY, PALETTE, banded, from_zero, key, styled
from rnc.show.tables import Table, table

COLOURS = dict(
    zip((1, 2, 3, 4, 6), (*PALETTE[4:6], PALETTE[2], PALETTE[3], "#000000"), strict=True)
)
DEPTH_NAMES = {f"M = {depth}": f"M = {depth}" for depth in COLOURS}
GRAMS = {"rows": "rows of W", "means": "class means", "logits": "logits"}
KINDS = {"balanced": "balanced", "bias": "balanced, bias", "imbalanced": "imbalanced"}


@styled
def frames(measured: dict) -> Figure:
    """Gram matrices that descent finds at the largest depth, each over its largest entry."""
    figure, axes = plt.subplots(3, 3, figsize=(6.4, 5.6))
    for row, (kind, title) in zip(axes, KINDS.items(), strict=True):
        for axis, (gram, name) in zip(row, GRAMS.items(), strict=True):
            found = np.array(measured["frames"][kind][str(DEPTHS[-1])][gram])
            image = axis.imshow(found / abs(found).max(), cmap="RdBu_r", vmin=-1, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.grid(visible=False)
            if kind == "balanced":
                axis.set_title(name)
        row[0].set_ylabel(title)
    figure.colorbar(image, ax=axes, shrink=0.6)
    return figure


@styled
def lengths(measured: dict, settings: Settings) -> Figure:
    """Squared lengths of the classifier's rows and of the class means against the class size:
    lines are the closed form, dots what descent found."""
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.9))
    counts = np.array(settings.counts)
    order = np.argsort(counts)
    for axis, gram, title in zip(
        axes, ("rows", "means"), ("rows of W", "class means"), strict=True
    ):
        for depth in DEPTHS:
            problem = Problem(settings.counts, (settings.decay,) * depth, settings.decay)
            theory = np.diag(getattr(Optimum.of(problem), gram))
            found = np.diag(measured["frames"]["imbalanced"][str(depth)][gram])
            colour, label = COLOURS[depth], f"M = {depth}"
            axis.plot(counts[order], theory[order], "-", color=colour, label=label)
            axis.plot(counts, found, "o", color=colour, label=f"{label}, found")
        axis.set_title(f"squared length, {title}")
        axis.set_xlabel("points of the class")
        from_zero(axis, "y")
    name_ends(figure, DEPTH_NAMES)
    return figure


@styled
def hysteresis(measured: dict) -> Figure:
    """The logit of a class against its size over the threshold: the minimum, the other stationary
    point where zero is lower, and what descent found in the sweep from its best start."""
    figure, axis = plt.subplots(figsize=(5.6, 3.2))
    sizes = np.geomspace(0.3, 6, 400)
    for depth in DEPTHS:
        colour = COLOURS[depth]
        x = np.array([stationary(jump(depth) / size, depth) for size in sizes])
        logit = x**depth / (1 + x**depth)
        lower = sizes < 1
        axis.plot(sizes, np.where(lower, 0, logit), "-", color=colour, label=f"M = {depth}")
        if last_root(depth) > jump(depth):
            axis.plot(sizes[lower], logit[lower], ":", color=colour)
        found = measured["collapse"][str(depth)]
        p = np.array(found["found"])
        threshold = measured["collapse"]["threshold"]
        axis.plot(np.array(SWEEP) / threshold, p / (p + found["unit"]), "o", color=colour)
    axis.set_xscale("log")
    axis.set_xticks([0.5, 1, 2, 4], ["0.5", "1", "2", "4"])
    axis.minorticks_off()
    axis.set_xlabel("points of the class / threshold")
    axis.set_ylabel("logit of the own class")
    name_ends(figure, DEPTH_NAMES)
    return figure


@styled
def starts(measured: dict) -> Figure:
    """The share of starts that reach the minimum, against their scale, a line for each depth."""
    figure, axis = plt.subplots(figsize=(5.4, 2.9))
    scales = measured["origin"]["scales"]
    for number, depth in enumerate(measured["origin"]["depths"]):
        share = np.mean(measured["origin"]["reached"][str(depth)], axis=1)
        # lines that coincide stand beside each other, and their data where they are
        beside = Affine2D().translate(0, 0.012 * number)
        style = {"color": COLOURS[depth], "label": f"M = {depth}"}
        axis.plot(scales, share, "-o", transform=beside + axis.transData, **style)
    axis.set_xlabel("scale of the start")
    axis.set_ylabel("share that reach the minimum")
    axis.set_ylim(-0.05, 1.1)
    name_ends(figure, DEPTH_NAMES)
    return figure


@styled
def entropy(measured: dict) -> Figure:
    """Pairs beside the simplex under the cross-entropy, against the decay; and the spectrum of the
    logits that descent finds."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3))
    found = measured["entropy"]
    for colour, (name, pairs) in zip(PALETTE, found["pairs"].items(), strict=False):
        simplex = np.array(found["simplex"][name])
        classes, depth = name.split(",")
        left.plot(
            found["decays"],
            np.array(pairs) / simplex - 1,
            color=colour,
            label=f"K = {classes}, M = {depth}",
        )
    left.axhline(0, color=GREY, linewidth=1)
    left.set_xscale("log")
    left.set_xlabel("decay")
    left.set_title("pairs / simplex − 1")
    for depth, of in found["descent"].items():
        colour = COLOURS[int(depth)]
        spectrum = of["spectrum"][:9]
        right.plot(range(1, 10), spectrum, "-o", color=colour, label=f"M = {depth}")
    right.set_title("spectrum found, K = 10")
    right.set_xlabel("number of the singular value")
    right.set_ylim(-0.05, 1.15)
    pairs = {name: name.replace(", ", "\n") for name in map(Line2D.get_label, left.lines[:-1])}
    name_ends(figure, DEPTH_NAMES | pairs)
    return figure


@styled
def digits(measured: dict) -> Figure:
    """Networks on imbalanced digits: squared rows found against predicted, and accuracy by class
    size, mean and range over seeds."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3))
    found = measured["digits"]
    for depth, of in found["depths"].items():
        predicted, rows = np.array(of["predicted"]), np.array(of["rows"])
        left.plot(predicted, rows, "o", color=COLOURS[int(depth)])
    most = max(np.max(of["predicted"]) for of in found["depths"].values())
    left.plot([0, most], [0, most], color=GREY, linewidth=1)
    left.set_title("squared rows of W")
    left.set_xlabel("closed form")
    left.set_ylabel("network")
    for depth, of in found["depths"].items():
        for name, line in (("test", "-"), ("attacked", "--")):
            values = np.array(of[name])
            colour = COLOURS[int(depth)]
            label = f"M = {depth}, {'PGD' if name == 'attacked' else 'test'}"
            style = {"linestyle": line, "marker": "o", "label": label}
            banded(right, found["counts"], values, colour, 0.12, **style)
    right.axvline(found["threshold"], color=GREY, linestyle=":")
    right.set_xscale("log")
    right.set_xticks([5, 10, 20, 50, 100], ["5", "10", "20", "50", "100"])
    right.minorticks_off()
    right.set_title("accuracy of a class")
    right.set_xlabel("its training points")
    right.set_ylim(-0.03, 1.03)
    key(figure, [("test points", "-", ""), ("under PGD", "--", "")])
    name_ends(figure, {f"M = {depth}, test": f"M = {depth}" for depth in found["depths"]})
    return figure


def touchable(settings: Settings) -> Table:
    """The closed form, drawn in the page from class sizes, decay and depth."""
    counts = ", ".join(map(str, settings.counts))
    return table("deep_linear.html", counts=counts, decay=round(math.log10(settings.decay), 2))
