"""Tables and figures of a report on any network, and of the networks that others trained."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rnc.show import plots
from rnc.show.ends import name_ends
from rnc.show.plots import GREY, KINDS, OTHER, VERTEX_NAMES, log_ticks, styled, vertex_line
from rnc.show.tables import Table, table
from rnc.study.reports import MEASURES, POINTS, Measure, Report

HEADS = {"clean": "clean", "gauss": "noise", "pgd": "attacked"}
COMPARED = ("NC1/(K−1)", "NC2 angles", "NC3", "Accuracy")  # titles of measures, a panel each


def report(one: Report) -> Table:
    """What was measured, within which bound it is called collapsed, what chance gives, and what
    each number means."""
    return table("report.html", report=one, measures=MEASURES, points=POINTS, heads=HEADS, say=say)


def say(value: float) -> str:
    """Three digits; – for what cannot be formed."""
    return "–" if np.isnan(value) else f"{value:.3g}"


def text(one: Report, others: list[Report]) -> str:
    """The same for a terminal, and after it what others score."""
    rows = {
        measure.title: [
            *(say(one.value(measure, points)) for points in POINTS),
            say(one.chance(measure)),
            "" if measure.bound is None else f"≤ {measure.bound:g}",
        ]
        for measure in MEASURES
    }
    heads = [*HEADS.values(), "chance", "collapsed"]
    measured = pd.DataFrame.from_dict(rows, orient="index", columns=heads)
    meanings = "\n".join(f"{measure.title}: {measure.meaning}" for measure in MEASURES)
    parts = [str(one), measured.to_string(), one.landed(), *one.doubts(), meanings]
    return "\n\n".join([*parts, compared([one, *others]).to_string()])


def compared(reports: list[Report]) -> pd.DataFrame:
    """Networks side by side: clean → attacked."""
    chosen = [measure for measure in MEASURES if measure.title in COMPARED]
    rows = [
        {
            measure.title: f"{say(one.value(measure, 'clean'))} → {say(one.value(measure, 'pgd'))}"
            for measure in chosen
        }
        | {"leap (rad)": say(one.leap), "attack": str(one.attack)}
        for one in reports
    ]
    return pd.DataFrame(rows, index=[one.title for one in reports])


def others(reports: list[Report]) -> Table:
    """`compared`, for a page."""
    return Table(compared(reports).to_html(classes="rnc-claims", border=0))


def layers(one: Report) -> Figure:
    """NC1, NC2 and NCC accuracy at every layer, clean and attacked."""
    return plots.layers({one.title: [one.found]})


@styled
def landing(one: Report) -> Figure:
    """Of each class, how far from its clean vertex the attacked points are that are taken for it,
    beside the angle between vertices."""
    vertices = float(np.arccos(-1 / (one.k - 1)))
    figure, axis = plt.subplots(figsize=(6.4, 2.4))
    angles = one.found.leap.numpy()
    axis.bar(range(one.k), angles, color=OTHER)
    for number in np.flatnonzero(np.isnan(angles)):
        axis.annotate("none", (number, 0), ha="center", va="bottom", fontsize=8.5, color=GREY)
    vertex_line(axis, vertices)
    axis.set_ylim(0, vertices * 1.15)
    axis.set_ylabel("angle to the vertex (rad)")
    names = one.about["class_names"]
    axis.set_xticks(range(one.k), names, rotation=60 if max(map(len, names)) > 3 else 0)
    axis.set_xlabel("taken for class")
    name_ends(figure, VERTEX_NAMES)
    return figure


@styled
def among(reports: list[Report], own: int = 0) -> Figure:
    """Networks one under the other in four measures, clean and attacked, with what chance gives;
    shaded within the bound of collapse.

    Args:
        reports: of the networks, from top to bottom.
        own: how many of the first are the reader's own, and coloured.
    """
    chosen = [measure for title in COMPARED for measure in MEASURES if measure.title == title]
    figure, axes = plt.subplots(
        2, 2, figsize=(6.4, 1.6 + 0.42 * len(reports)), sharey=True, squeeze=False
    )
    for axis, measure in zip(axes.flat, chosen, strict=True):
        _scores(axis, measure, reports, own)
    axes[0, 0].set_yticks(range(len(reports)), [one.title for one in reports])
    axes[0, 0].set_ylim(len(reports) - 0.5, -0.5)
    for axis in axes[:, 0]:
        axis.tick_params(axis="y", labelsize=8.5)
    handles = [
        Line2D([], [], color=GREY, marker=KINDS[kind][2], linestyle="", label=KINDS[kind][0])
        for kind in ("clean", "pgd")
    ]
    handles.append(Line2D([], [], color=GREY, marker="|", linestyle="", label="chance"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _scores(axis: plt.Axes, measure: Measure, reports: list[Report], own: int) -> None:
    for row, one in enumerate(reports):
        colour = OTHER if row < own else "#000000"
        values = [one.value(measure, points) for points in ("clean", "pgd")]
        axis.plot(values, [row, row], color=colour, alpha=0.4)
        for kind, value in zip(("clean", "pgd"), values, strict=True):
            axis.plot(value, row, KINDS[kind][2], color=colour, markersize=5)
        axis.plot(one.chance(measure), row, "|", color=GREY, markersize=9)
    axis.set_title(measure.title)
    axis.grid(axis="y", visible=False)
    if measure.bound is None:
        axis.set_xlim(-0.03, 1.03)
        return
    axis.set_xscale("log")
    low = min(axis.get_xlim()[0], measure.bound / 2)
    axis.axvspan(low, measure.bound, color="#009E73", alpha=0.12, linewidth=0)
    axis.set_xlim(left=low)
    log_ticks(axis, "x")
