"""Figures of the chapter on posterior collapse as an attack."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnc.neighbours.posterior_collapse import sheets
from rnc.neighbours.posterior_collapse.attacks import TITLES
from rnc.neighbours.posterior_collapse.experiments import DRAWN
from rnc.neighbours.posterior_collapse.purification import PURIFICATIONS
from rnc.show.ends import name_ends
from rnc.show.plots import GREY, PALETTE, banded, styled

COLOURS = {  # PCA- and descent to 0 are one attack but for their name
    "clean": "#000000",
    "gauss": GREY,
    "pca_minus": PALETTE[5],
    "pca_plus": PALETTE[4],
    "minus_up": PALETTE[4],
    "zero": PALETTE[5],
    "grey": PALETTE[0],
    "away": PALETTE[2],
    "decoded": PALETTE[3],
}
DIFFERENCE = 10  # times, about mid-grey
CLASSES = plt.get_cmap("tab10")


@styled
def pictures(measured: dict) -> Figure:
    """One image of each of two classes, at the first seed: a row for each perturbation, columns
    the image, ten times its difference from the original, decoded, and two edits."""
    found = measured["edits"][0]
    sheet = {
        name: sheets.unpacked(text, found["height"]) for name, text in found["pictures"].items()
    }
    original = sheet.pop("original")
    count = len(DRAWN)
    titles = (
        "image",
        f"change\n× {DIFFERENCE}",
        "decoded",
        "shift",
        f"diffusion\n{found['strength']}",
    )
    columns = len(titles)
    figure, axes = plt.subplots(
        len(sheet),
        count * columns + count - 1,
        figsize=(6.4, 3.9),
        gridspec_kw={"width_ratios": ([1] * columns + [0.25]) * (count - 1) + [1] * columns},
    )
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    for axis in axes.flat:
        axis.axis("off")
    for row, (name, images) in zip(axes, sheet.items(), strict=True):
        image, decoded, shift, diffusion = images.unflatten(0, (-1, count))
        change = (0.5 + DIFFERENCE * (image - original)).clamp(0, 1)
        row[0].text(
            -0.1,
            0.5,
            TITLES[name],
            fontsize=8.5,
            ha="right",
            va="center",
            transform=row[0].transAxes,
        )
        for number in range(count):
            parts = (image, change, decoded, shift, diffusion)
            for column, (part, title) in enumerate(zip(parts, titles, strict=True)):
                axis = row[number * (columns + 1) + column]
                axis.imshow(part[number].permute(1, 2, 0).numpy(), interpolation="nearest")
                if name == "clean":
                    axis.set_title(title, fontsize=8.5)
    return figure


@styled
def plane(measured: dict) -> Figure:
    """Posterior means under PCA- on the first two principal axes of the clean ones, at the first
    seed, a column for each radius, a colour for each class: on one scale (top), and each on its
    own, with the means of the classes (bottom)."""
    found = measured["radii"][0]
    shown = [number for number, eps in enumerate(found["radii"]) if eps != 4]
    labels = np.array(found["labels"])
    most = 1.05 * np.abs(found["plane"][0]).max()
    figure, axes = plt.subplots(2, len(shown), figsize=(6.4, 3.6))
    for column, number in zip(axes.T, shown, strict=True):
        points = np.array(found["plane"][number])
        centre = points.mean(0)
        own = 1.05 * np.abs(points - centre).max()
        for axis, middle, limit in zip(column, (0 * centre, centre), (most, own), strict=True):
            for c in np.unique(labels):
                axis.plot(*points[labels == c].T, ".", color=CLASSES(c), markersize=3)
            for low, high, bounds in zip(
                middle - limit, middle + limit, (axis.set_xlim, axis.set_ylim), strict=True
            ):
                bounds(low, high)
            axis.set_aspect("equal")
            axis.set_xticks([])
            axis.set_yticks([])
        for c in np.unique(labels):
            place = points[labels == c].mean(0)
            column[1].annotate(
                str(c), place, ha="center", va="center", color=CLASSES(c), weight="bold"
            )
        eps = found["radii"][number]
        column[0].set_title(f"ε = {eps:g}/255" if eps else "clean")
        column[1].set_xlabel(f"{most / own:.0f} times enlarged" if eps else "", fontsize=8.5)
    axes[0, 0].set_ylabel("one scale")
    axes[1, 0].set_ylabel("own scale")
    return figure


@styled
def geometry(measured: dict) -> Figure:
    """Measures of the classes against the radius, over clean where they are sizes: PCA- and noise,
    mean and range over seeds; dotted what random points give."""
    floor = measured["perturbations"][0]["floor"]
    figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.7))
    panels = (("between", "Tr Σ_B / clean"), ("nc1", "NC1"), ("ncc_own", "NCC, own centres"))
    for axis, (measure, title) in zip(axes, panels, strict=True):
        for name in ("gauss", "pca_minus"):
            _swept(axis, measured, name, measure, over_clean=measure == "between")
        axis.set_title(title)
        axis.set_xlabel("ε (1/255)")
        if measure == "ncc_own":
            axis.set_ylim(0, 1.03)
        else:
            axis.set_yscale("log")
        if measure == "nc1":
            axis.set_yticks([20, 50, 100, 200, 500], ["20", "50", "100", "200", "500"])
            axis.minorticks_off()
        if measure != "between":
            axis.axhline(floor[measure], color=GREY, linestyle=":", label="random points")
    name_ends(figure, {title: title for title in (*TITLES.values(), "random points")})
    return figure


@styled
def reconstructions(measured: dict) -> Figure:
    """PSNR of reconstructions: against the radius (left), and at the radius of the chapter for
    every perturbation, with the share still taken for its class (right); a dot for each seed."""
    figure, axes = plt.subplots(
        1, 3, figsize=(6.4, 3), gridspec_kw={"width_ratios": [1.25, 1, 0.8]}
    )
    left, middle, right = axes
    for name in ("gauss", "pca_plus", "pca_minus"):
        _swept(left, measured, name, "psnr")
    left.set_xlabel("ε (1/255)")
    left.set_title("reconstructions: PSNR (dB)")
    names = list(TITLES)
    for axis, measure in ((middle, "psnr"), (right, "judged")):
        for height, name in enumerate(names):
            values = [of["sets"][name][measure] for of in measured["perturbations"]]
            axis.plot(values, [height] * len(values), "o", color=COLOURS[name])
        axis.set_yticks(range(len(names)), [TITLES[name] for name in names])
        axis.set_ylim(len(names) - 0.5, -0.5)
    middle.set_title("PSNR (dB)")
    right.set_title("still its class")
    right.set_yticklabels([])
    right.set_xlim(-0.05, 1.05)
    name_ends(figure, {title: title for title in TITLES.values()})
    return figure


@styled
def edits(measured: dict) -> Figure:
    """Of edits towards the next class: shares that are taken for the target, for the source, and
    that are nearest to the clean edit of the very image; a dot for each seed."""
    found = measured["edits"]
    kinds = list(found[0]["sets"]["clean"])
    titles = {
        "target": "taken for the target",
        "source": "for the source",
        "own": "of the very image",
    }
    names = list(found[0]["sets"])
    figure, axes = plt.subplots(
        len(kinds), len(titles), figsize=(6.4, 1.15 * len(kinds) + 0.8), sharex=True, sharey=True
    )
    for row, kind in zip(axes, kinds, strict=True):
        for axis, (measure, title) in zip(row, titles.items(), strict=True):
            for height, name in enumerate(names):
                values = [of["sets"][name][kind][measure] for of in found]
                axis.plot(values, [height] * len(values), "o", color=COLOURS[name])
            if kind == kinds[0]:
                axis.set_title(title)
        row[0].set_ylabel(kind if kind == "shift" else f"diffusion\n{kind}")
        row[0].set_yticks(range(len(names)), [TITLES[name] for name in names], fontsize=8.5)
    axes[0, 0].set_ylim(len(names) - 0.4, -0.6)
    axes[0, 0].set_xlim(-0.05, 1.05)
    return figure


@styled
def variances(measured: dict) -> Figure:
    """Against v: the share of pixels whose gradient has the sign of that of the squared mean, and
    PSNR after descent; mean and range over seeds."""
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.5))
    v = np.array(measured["losses"][0]["v"][:-1])
    for axis, measure, title in zip(
        axes,
        ("signs", "psnr"),
        ("signs of the mean term alone", "PSNR (dB)"),
        strict=True,
    ):
        values = np.array([of[measure][:-1] for of in measured["losses"]])
        banded(axis, v, values, COLOURS["pca_minus"], 0.15, marker="o")
        axis.set_xscale("log")
        axis.set_xlabel("v")
        axis.set_title(title)
    axes[0].set_ylim(0.5, 1.02)
    return figure


@styled
def purification(measured: dict) -> Figure:
    """PSNR of reconstructions after what may undo a perturbation, a dot for each seed."""
    figure, axis = plt.subplots(figsize=(5.6, 2.7))
    found = measured["purified"]
    for name in found[0]:
        colour = COLOURS[name]
        for height, purification in enumerate(PURIFICATIONS):
            values = [of[name][purification]["psnr"] for of in found]
            axis.plot(values, [height] * len(values), "o", color=colour)
            if not height:
                axis.annotate(
                    TITLES[name], (np.mean(values), -0.55), ha="center", color=colour, fontsize=8.5
                )
    axis.set_yticks(range(len(PURIFICATIONS)), [title for title, _ in PURIFICATIONS.values()])
    axis.set_ylim(len(PURIFICATIONS) - 0.5, -1)
    axis.set_xlabel("PSNR of the reconstruction (dB)")
    axis.margins(x=0.1)
    return figure


def _values(measured: dict, name: str, measure: str, over_clean: bool = False) -> np.ndarray:
    """Seeds x radii."""
    rows = np.array([[at[measure] for at in of["sets"][name]] for of in measured["radii"]])
    return rows / rows[:, :1] if over_clean else rows


def _swept(axis: Axes, measured: dict, name: str, measure: str, over_clean=False) -> None:
    values = _values(measured, name, measure, over_clean)
    style = {"marker": "o", "label": TITLES[name]}
    banded(axis, measured["radii"][0]["radii"], values, COLOURS[name], 0.15, **style)
    axis.set_xticks([0, 8, 16, 32])
