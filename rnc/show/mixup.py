"""Figures of the chapter on mixup."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnc.neighbours.mixup.attacked import CHANNEL, LEADS, SWEEP
from rnc.neighbours.mixup.claims import classes_of, predicted
from rnc.neighbours.mixup.experiments import NETWORKS
from rnc.neighbours.mixup.geometry import LAMBDAS, TRIANGLE
from rnc.neighbours.mixup.scales import judged
from rnc.show.ends import name_ends
from rnc.show.plots import GREY, banded, styled
from rnc.study.findings.finding import span
from rnc.study.methods import METHODS

_METHODS = {name: METHODS[name.replace("_", "-")] for name in NETWORKS}
COLOURS = {name: method.colour for name, method in _METHODS.items()}
TITLES = {name: method.title for name, method in _METHODS.items()}
COMPARED = ("st", "mixup")


@styled
def planes(measured: dict) -> Figure:
    """Mixes in the plane of three rows of the classifier, a panel for each network of the first
    seed: of one class, and of two by their lambda."""
    figure, axes = plt.subplots(2, 2, figsize=(6.4, 6.2))
    for axis, name in zip(axes.flat, NETWORKS, strict=True):
        picture = measured[name][0]["picture"]
        mixed, same = np.array(picture["mixed"]), np.array(picture["same"])
        _rows(axis, picture, np.concatenate([mixed, same]))
        extreme = abs(2 * np.array(picture["lambda"]) - 1)
        dots = axis.scatter(*mixed.T, c=extreme, cmap="viridis_r", vmin=0, vmax=1, s=9)
        axis.scatter(*same.T, color="#D55E00", s=9, marker="^")
        axis.set_title(TITLES[name], color=COLOURS[name])
    bar = figure.colorbar(dots, ax=axes, location="bottom", shrink=0.6, aspect=30)
    bar.set_ticks([0, 1], labels=["half and half", "one of two classes"])
    return figure


@styled
def lines(measured: dict) -> Figure:
    """Rise and difference of the logits of two mixed classes against lambda: mean over seeds, the
    theory at the margin of mixup, and the chord."""
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.1))
    networks = measured["mixup"]
    margin = float(np.mean([network["mixes"]["margin"] for network in networks]))
    expected = predicted(margin, classes_of(networks[0]))
    titles = {
        "rise": "rise above the other classes / D",
        "difference": "difference of the two / D",
    }
    for axis, (measure, title) in zip(axes, titles.items(), strict=True):
        axis.plot(LAMBDAS, expected[measure], color="#000000", label="theory")
        axis.plot(LAMBDAS, expected[f"{measure}_chord"], "--", color="#000000", label="chord")
        for name in NETWORKS:
            values = np.array([network["mixes"][measure] for network in measured[name]])
            _line(axis, LAMBDAS, values, name)
        axis.set_title(title)
        axis.set_xlabel("λ")
        axis.set_ylim(bottom=min(0, axis.get_ylim()[0]))
    names = ("theory", "chord", *TITLES.values())
    name_ends(figure, {name: name.replace(", ", ",\n") for name in names})
    return figure


@styled
def landing(measured: dict) -> Figure:
    """Where PGD leaves points: shares by lead, all seeds; and, of the first seed, each point in
    the triangle of the two largest wrong classes and its own."""
    figure, axes = plt.subplot_mosaic(
        [["lead", "lead"], list(COMPARED)], figsize=(6.4, 5.2), height_ratios=(1, 1.25)
    )
    lead = axes.pop("lead")
    for name in COMPARED:
        shares = np.mean([of["attacked"]["pgd"]["leads"] for of in measured[name]], axis=0)
        lead.stairs(shares, LEADS, color=COLOURS[name], fill=True, alpha=0.55)
        at = int(shares.argmax())
        lead.annotate(
            TITLES[name],
            ((LEADS[at] + LEADS[at + 1]) / 2, shares[at]),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            color=COLOURS[name],
        )
    lead.axvline(CHANNEL, color=GREY, linestyle=":")
    lead.set_xlim(LEADS[0] - 0.05, LEADS[-1])
    lead.margins(y=0.15)
    lead.set_xlabel("largest logit less the second, over D (last bin: all above)")
    lead.set_ylabel("share of points")
    pictures = {name: np.array(measured[name][0]["picture"]["attacked"]) for name in COMPARED}
    shown = np.concatenate([*pictures.values(), TRIANGLE.T.numpy()])
    for name, dots in pictures.items():
        axis = axes[name]
        _triangle(axis)
        axis.scatter(*dots.T, color=COLOURS[name], s=7, alpha=0.35, linewidth=0)
        axis.scatter(*shown.T, alpha=0)  # of both the same limits
        axis.set_title(TITLES[name], color=COLOURS[name])
    return figure


@styled
def radii(measured: dict) -> Figure:
    """Accuracy, leap, and the share of points in channels between wrong classes under PGD, against
    its radius; mean and range over seeds."""
    titles = {
        "accuracy": "accuracy",
        "leap_seen": "leap, seen (rad)",
        "between_wrong": "share between two\nwrong classes",
    }
    figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.9))
    for axis, (measure, title) in zip(axes, titles.items(), strict=True):
        for name in NETWORKS:
            values = np.array([[at[measure] for at in of["sweep"]] for of in measured[name]])
            _line(axis, SWEEP, values, name)
        axis.set_title(title)
        axis.set_xscale("log", base=2)
        axis.set_xticks(SWEEP, [str(eps) for eps in SWEEP])
        axis.minorticks_off()
        axis.set_xlabel("ε (1/255)")
        axis.set_ylim(-0.03, 1.03 if measure != "leap_seen" else None)
    handles, labels = axes[0].get_legend_handles_labels()  # too long for the ends of three abreast
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


@styled
def reliability(found: dict[str, dict]) -> Figure:
    """Accuracy against confidence on test points, a panel for each scale, of its first seed; the
    area of a dot is its share of the points. Below the diagonal is overconfident.

    Args:
        found: by name of a scale, what was measured there.
    """
    columns = min(len(found), 2)
    rows = math.ceil(len(found) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.2 * columns, 2.9 * rows), squeeze=False)
    for axis in axes.flat[len(found) :]:
        axis.set_visible(False)
    for axis, (scale, measured) in zip(axes.flat, found.items(), strict=False):
        axis.plot([0, 1], [0, 1], color=GREY, linewidth=1)
        for name in COMPARED:
            bins = measured[name][0]["reliability"]["bins"]
            kept = ("confidence", "accuracy", "share")
            x, y, size = (np.array(bins[key], float) for key in kept)  # nan where a bin is empty
            axis.scatter(x, y, s=6 + 250 * size, color=COLOURS[name], alpha=0.65, linewidth=0)
        axis.set_title(scale)
        axis.set_xlabel("confidence")
        axis.set_ylabel("accuracy")
        axis.set_xlim(0, 1.04)
        axis.set_ylim(-0.04, 1.08)
    handles = [plt.Line2D([], [], marker="o", linestyle="", color=COLOURS[n]) for n in COMPARED]
    figure.legend(
        handles, [TITLES[n] for n in COMPARED], loc="outside upper center", ncols=len(COMPARED)
    )
    return figure


def scales(found: dict[str, dict]) -> pd.DataFrame:
    """Verdicts and values at each scale, a column for each.

    Args:
        found: by name of a scale, what was measured there.
    """

    def values(measured: dict, name: str, *path: str | int) -> str:
        places = measured[name]
        for step in path:
            places = [place[step] for place in places]
        return span(places)

    rows: dict[str, dict[str, str]] = {}
    for scale, measured in found.items():
        column = {f"{v.claim.id} {v.claim.title}": v.at_seeds for v in judged(measured)}
        margin = np.mean([of["mixes"]["margin"] for of in measured["mixup"]])
        theory = predicted(float(margin), classes_of(measured["mixup"][0]))
        for measure, lam in (("rise", 0.5), ("difference", 0.7)):
            at = LAMBDAS.index(lam)
            of_mixup = values(measured, "mixup", "mixes", measure, at)
            title = f"{measure} / D at λ = {lam} (theory; chord)"
            chord = theory[f"{measure}_chord"][at]
            column[title] = f"{of_mixup} ({theory[measure][at]:.2f}; {chord:.2f})"
        for title, path in {
            "off theory": ("mixes", "off_theory"),
            "off chord": ("mixes", "off_chord"),
            "leap seen under PGD, rad": ("attacked", "pgd", "leap_seen"),
            "between two wrong classes under PGD": ("attacked", "pgd", "between_wrong"),
            "the same under the margin loss": ("attacked", "margin", "between_wrong"),
            "test accuracy under PGD, ε 2": ("robust", "test", "pgd"),
            "test accuracy": ("reliability", "accuracy"),
            "calibration error": ("reliability", "ece"),
            "NC1 of unmixed points": ("clean", "collapse", "nc1"),
        }.items():
            of_mixup, of_st = (values(measured, name, *path) for name in ("mixup", "st"))
            column[f"{title}: mixup (ST)"] = f"{of_mixup} ({of_st})"
        rows[scale] = column
    return pd.DataFrame(rows)


def _line(axis: Axes, x: tuple, values: np.ndarray, name: str) -> None:
    banded(axis, x, values, COLOURS[name], 0.15, marker="o", label=TITLES[name])


def _rows(axis: Axes, picture: dict, dots: np.ndarray) -> None:
    """Sticks from the origin along the rows, as long as the picture is wide, with their class."""
    reach = np.linalg.norm(dots, axis=1).max()
    for c, row in zip(picture["classes"], np.array(picture["rows"]), strict=True):
        tip = row / np.linalg.norm(row) * reach
        axis.plot(*np.stack([0 * tip, tip]).T, color="#000000", zorder=1)
        axis.annotate(str(c), 1.12 * tip, ha="center", va="center", fontsize=9)
    _bare(axis)


def _triangle(axis: Axes) -> None:
    """See `rnc.neighbours.mixup.attacked.corners`."""
    corners = TRIANGLE.T.numpy()
    axis.plot(*corners[[0, 1, 2, 0]].T, color=GREY, linewidth=1, zorder=1)
    for (x, y), name in zip(corners, ("wrong", "next wrong", "own"), strict=True):
        side = np.sign(x)
        ha, va, offset = {  # beside the points, which are about corners
            0: ("center", "bottom", (0, 5)),
            -1: ("right", "top", (-14, -20)),
            1: ("left", "center", (7, 0)),
        }[side]
        axis.annotate(
            name, (x, y), xytext=offset, textcoords="offset points", ha=ha, va=va, fontsize=8.5
        )
    _bare(axis)


def _bare(axis: Axes) -> None:
    axis.set_aspect("equal")
    axis.margins(0.15)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(visible=False)
    for side in axis.spines.values():
        side.set_visible(False)
