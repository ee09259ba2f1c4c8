"""Figures of the chapter on perturbation analysis."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rnc.neighbours.perturbation import network, theory
from rnc.neighbours.perturbation.claims import NAMES
from rnc.neighbours.perturbation.experiments import Settings
from rnc.show.ends import name_ends
from rnc.show.plots import GREY, PALETTE, banded, from_zero, key, styled
from rnc.study.methods import AT, ST

COLOURS = (PALETTE[4], PALETTE[5], PALETTE[2])
KINDS = (  # of points of the networks: name, colour, line
    ("ST", "clean", ST.colour, "-"),
    ("ST", "pgd", ST.colour, "--"),
    ("AT", "clean", AT.colour, "-"),
    ("AT", "pgd", AT.colour, "--"),
)
TRACES = {"ratio": "R", "share": "share in the span", "within": "Tr Σ_W", "between": "Tr Σ_B"}


@styled
def flow(measured: dict) -> Figure:
    """R along the flow, a colour for each decay u and a line for each seed; and the two traces,
    with the decay taken out, over their start."""
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.9))
    for found in measured["path"]:
        for path, colour in zip(found["paths"], COLOURS, strict=True):
            axes[0].plot(path["time"][1:], path["ratio"][1:], color=colour, linewidth=1)
            axes[1].plot(path["time"][1:], path["between"][1:], color=colour, linewidth=1)
            axes[1].plot(path["time"][1:], path["within"][1:], "--", color=colour, linewidth=1)
    for axis in axes:
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("time of the flow")
    axes[0].set_title("R = Tr Σ_W / Tr Σ_B")
    axes[1].set_title("traces · e²ᵘᵗ, over the start")
    handles = [
        Line2D([], [], color=colour, label=f"u = {path['u']:g}")
        for path, colour in zip(measured["path"][0]["paths"], COLOURS, strict=True)
    ]
    handles += [
        Line2D([], [], color=GREY, linestyle=line, label=label)
        for line, label in (("-", "between"), ("--", "within"))
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=5)
    return figure


@styled
def pulled(measured: dict, settings: Settings) -> Figure:
    """R of the minimiser over that of the given features against the strength of the pull, beside
    the flow at time 1/beta and the first order; and attenuation along the classifier's
    directions."""
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.0))
    for found in measured["pull"]:
        own = found["shapes"][0]
        x = 1 / np.array(own["beta"])
        axes[0].plot(x, 1 + np.array(own["flow"]), "-", color=COLOURS[0])
        axes[0].plot(x, 1 + np.array(own["first"]), ":", color=GREY)
        axes[0].plot(x, 1 + np.array(own["minimiser"]), "o", color=COLOURS[1])
    axes[0].set_xscale("log")
    from_zero(axes[0], "y")
    axes[0].set_xlabel("1/β")
    axes[0].set_title("R / R of the given features")
    axes[0].legend(
        handles=[
            Line2D([], [], color=COLOURS[1], marker="o", linestyle="", label="minimiser"),
            Line2D([], [], color=COLOURS[0], label="flow at t = 1/β"),
            Line2D([], [], color=GREY, linestyle=":", label="first order"),
        ],
        loc="lower left",
    )
    _attenuation(axes[1], measured, settings.problem)
    return figure


def _attenuation(axis: Axes, measured: dict, problem: theory.Problem) -> None:
    largest = max(max(d["squared"]) for found in measured["pull"] for d in found["directions"])
    squared = np.linspace(0, 1.05 * largest, 200)
    for number, colour in enumerate(COLOURS):
        for found in measured["pull"]:
            one = found["directions"][number]
            axis.plot(one["squared"], one["found"], "o", color=colour)
        beta = one["beta"]
        expected = theory.attenuation(squared, problem.at(beta=beta))
        axis.plot(squared, expected, "-", color=colour, label=f"β = {beta:g}")
    axis.set_xlabel("squared singular value σ² of W")
    axis.set_title("deviations: after / before")
    axis.legend(loc="center right")


@styled
def response(measured: dict, settings: Settings) -> Figure:
    """The spectrum of the response of a class's features to its own given ones: dots by implicit
    differentiation, lines the closed form, dotted the first order; and its smallest value against
    each decay."""
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.0))
    for one, colour in zip(measured["response"][0]["spectra"], COLOURS, strict=True):
        problem = settings.problem.at(u=one["u"])
        index = np.arange(len(one["own"]))
        axes[0].plot(index, one["own"], ".", color=colour, markersize=3)
        axes[0].plot(index, theory.own_spectrum(problem), "-", color=colour, linewidth=0.8)
        axes[0].plot(index, theory.paper_spectrum(problem), ":", color="black", linewidth=0.8)
        axes[0].annotate(
            f"u = {one['u']:.2g}",
            (index[0], one["own"][0]),
            xytext=(4, 4),
            textcoords="offset points",
            color=colour,
        )
    axes[0].set_title(f"singular values of F, β = {settings.beta:g}")
    axes[0].set_xlabel("index")
    for by, decay, colour in (
        ("by_u", "u", COLOURS[0]),
        ("by_w", "w", COLOURS[1]),
    ):
        one = measured["response"][0][by]
        axes[1].plot(one["decay"], one["found"], "o-", color=colour, label=f"against {decay}")
    axes[1].set_title("its smallest")
    axes[1].set_xlabel("the decay")
    axes[1].legend()
    return figure


@styled
def depth(measured: dict) -> Figure:
    """R, the share of the variance within classes in the span of the means, and both traces, after
    the embedding and after every block: mean over seeds, and a band from the lowest to the
    highest; grey a network at its start."""
    figure, axes = plt.subplots(2, 2, figsize=(6.4, 5.0), sharex=True)
    layers = np.arange(network.BLOCKS + 1)
    shown = (*KINDS, ("start", "clean", GREY, ":"))
    for axis, (measure, title) in zip(axes.flat, TRACES.items(), strict=True):
        for method, points, colour, line in shown:
            rows = np.array([found[method][points][measure] for found in measured["digits"]])
            style = {"linestyle": line, "marker": "o", "label": f"{method}, {NAMES[points]}"}
            banded(axis, layers, rows, colour, **style)
        axis.set_title(title)
        if measure in ("share", "within"):
            from_zero(axis, "y")
        else:
            axis.set_yscale("log")
        if measure == "share":
            isotropic = (network.CLASSES - 1) / network.WIDTH
            axis.axhline(isotropic, color=GREY, linewidth=1, label="isotropic")
    for axis in axes[1]:
        axis.set_xticks(layers, ["in", *map(str, layers[1:])])
        axis.set_xlabel("block")
    key(figure, [(NAMES[points], line, "o") for _, points, _, line in KINDS[:2]])
    names = {f"{method}, {NAMES['clean']}": method for method, *_ in KINDS}
    names[f"start, {NAMES['clean']}"] = "before\ntraining"
    name_ends(figure, names | {"isotropic": "isotropic"})
    return figure


@styled
def blocks(measured: dict) -> Figure:
    """R of trained blocks against that of the model's minimiser, on a diagonal."""
    figure, axis = plt.subplots(figsize=(4.4, 3.6))
    found = [block for seed in measured["digits"] for block in seed["blocks"]]
    for method, points, colour, line in KINDS:
        chosen = [b for b in found if (b["method"], b["points"]) == (method, points)]
        face = colour if line == "-" else "white"
        label = f"{method}, {NAMES[points]}"
        axis.plot(
            [b["model"] for b in chosen],
            [b["block"] for b in chosen],
            "o",
            color=colour,
            markerfacecolor=face,
            label=label,
        )
    values = [b[name] for b in found for name in ("model", "block")]
    ends = [0.9 * min(values), 1.1 * max(values)]
    axis.plot(ends, ends, "-", color=GREY, linewidth=1)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("R of the model")
    axis.set_ylabel("R of the block")
    axis.legend()
    return figure
