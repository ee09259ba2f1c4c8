"""Figures from records, by title of the method, as `rnc.records` gives them.

One colour per method and one line style per perturbation throughout the book, from the
palette of Okabe and Ito, which readers with colour-blindness can tell apart.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from rnc.show import vector
from rnc.show.ends import name_ends
from rnc.study import nulls
from rnc.study.findings.series import Series, drifts, judged_series
from rnc.study.methods import METHODS
from rnc.study.paper import curves
from rnc.study.record import NotMeasured, Record, mean
from rnc.study.records import Records
from rnc.study.reports import MEASURES as MEASURED
from rnc.study.settings import NORM_SYMBOLS
from rnc.surveys import Survey

OTHER = "#56B4E9"  # networks of the reader's own
KINDS = {  # name, line style, marker
    "clean": ("clean", "-", "o"),
    "pgd": ("PGD", "--", "^"),
    "gauss": ("Gaussian noise", ":", "s"),
    "targeted": ("targeted PGD", "-.", "D"),
    "adaptive": ("PGD on the layer's NCC", ":", "v"),
}
CLASS_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7")
PALETTE = (*CLASS_COLOURS, "#0072B2", "#D55E00", "#F0E442", "#000000")  # Okabe and Ito
GREY = "#777777"
VERTICES = "between vertices of a simplex"  # the line at their angle
VERTEX_NAMES = {VERTICES: "between\nvertices"}
RANDOM, SIMPLEX = "random means", "simplex"  # lines of what these give
OUTSIDE = "#b5b5b5"  # points that are sorted into a class that is not drawn
MEASURES = {  # title, logarithmic
    "accuracy": ("Accuracy", False),
    "loss": ("Cross-entropy", True),
    "nc1": ("NC1: variability", True),
    "nc2_norms": ("NC2: equinorm, means", False),
    "nc2_norms_w": ("NC2: equinorm, classifier", False),
    "nc2_angles": ("NC2: equiangularity, means", False),
    "nc2_angles_w": ("NC2: equiangularity, classifier", False),
    "nc3": ("NC3: self-duality", False),
    "nc4": ("NC4: NCC disagreement", False),
    "ncc_accuracy": ("NCC accuracy", False),
    "within": ("Variance within classes, Tr Σ_W", True),
    "kl": ("KL(clean ‖ attacked)", True),
    "logit_norm": ("Length of the centred logits", True),
}
GROUPED = {  # of groups of points by predicted label
    "angle": "Angle to the\nclean vertex (rad)",
    "length": "Length / that\nof the vertex",
    "nc1": "NC1/(K−1) by\npredicted label",
}
COLLAPSE = (
    "nc1",
    "nc3",
    "nc2_norms",
    "nc2_angles",
    "nc2_norms_w",
    "nc2_angles_w",
    "nc4",
    "ncc_accuracy",
)
LEAD = ("nc1", "nc2_angles")  # two that tell most; the rest is shown on request
REST = tuple(name for name in COLLAPSE if name not in LEAD)
STYLE = {
    "figure.dpi": 160,
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "lines.markersize": 3.5,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.w_pad": 0.08,
}


def styled(function: Callable[..., Figure]) -> Callable[..., Figure]:
    """A function whose figure has the style of the book."""

    @functools.wraps(function)
    def styled(*args, **kwargs) -> Figure:
        with plt.rc_context(STYLE):
            others = plt.get_fignums()
            try:
                figure = function(*args, **kwargs)
            except NotMeasured as missing:  # records may be older than a measurement
                for begun in set(plt.get_fignums()) - set(others):
                    plt.close(begun)  # or a notebook shows it too
                figure = plt.figure(figsize=(6.4, 0.6))
                figure.text(0, 0.5, f"Not drawn: {missing.args[0]}.", va="center")
        # pyplot forgets it, so that a notebook shows it once, as the value of its cell
        plt.close(figure)
        figure._repr_mimebundle_ = functools.partial(vector.bundle, figure)
        return figure

    return styled


@styled
def training_curves(
    records: Records,
    measures: Iterable[str] = COLLAPSE,
    kinds: Iterable[str] = ("clean", "pgd", "gauss"),
) -> Figure:
    """Measures along training: one panel per measure, a line per method and perturbation.

    Args:
        records: of several seeds the line is the mean, and a band goes from the lowest to the
            highest; those that are older than a measure are left out of its panel.
        measures: names in MEASURES; by default all of collapse.
        kinds: names in KINDS.

    Shaded is within the bound of collapse.
    """
    measures, kinds = tuple(measures), tuple(kinds)
    figure, axes = _grid(len(measures))
    for axis, measure in zip(axes, measures, strict=True):
        title, logarithmic = MEASURES[measure]
        for method, seeds in records.items():
            for kind in kinds:
                if rows := [r.curve(kind, measure) for r in seeds if r.has(kind, measure)]:
                    _line(axis, seeds[0].epochs, rows, method, kind)
        axis.set_title(title)
        if not axis.lines:
            raise NotMeasured(f"of these networks {measure} was not measured along training")
        _epochs(axis)
        if logarithmic:
            axis.set_yscale("log")
        elif measure in ("accuracy", "ncc_accuracy", "nc4"):
            axis.set_ylim(-0.03, 1.03)
        else:
            from_zero(axis, "y")
        _collapsed(axis, measure, next(iter(records.values()))[0].num_classes)
    _named(figure, records, kinds)
    return figure


@styled
def angles_along_training(records: Records, names: dict[str, str]) -> Figure:
    """Mean angles between simplices along training; `names` gives a title to each of leap,
    targeted_angle and alignment that is drawn."""
    figure, axes = _grid(len(names))
    for axis, (name, title) in zip(axes, names.items(), strict=True):
        for method, seeds in records.items():
            _line(axis, seeds[0].epochs, [record.angles(name) for record in seeds], method)
        vertex_line(axis, seeds[0].vertex_angle)
        axis.set_title(title)
        axis.set_ylabel("angle (rad)")
        from_zero(axis, "y")
        _epochs(axis)
    _named(figure, records, ["clean"])
    return figure


@styled
def simplex(records: Records) -> Figure:
    """Four class means and their points in 3-D, clean beside attacked; a row per method, of its
    first seed.

    Sticks are clean class means. A dot is a point in the colour of its true class; a dot that
    the network sorts into a class that is not drawn is grey.
    """
    figure = plt.figure(figsize=(6.4, 3.3 * len(records)))
    drawings = [seeds[0] for seeds in records.values()]
    palette = class_colours(drawings)
    frames = [
        record.drawing["points"][record.radii.index(eps)]
        for record in drawings
        for eps in (0, record.evaluation.attack.eps)
    ]
    reach = max(0.9, 0.7 * np.linalg.norm(np.concatenate(frames), axis=1).max())  # of all panels
    for row, (method, (record, *_)) in enumerate(records.items()):
        drawn, radii = record.drawing, record.radii
        names = [record.classes[c] for c in drawn["classes"]]
        colours_of = [palette[c] for c in drawn["classes"]]
        shown = ((0, "clean"), (record.evaluation.attack.eps, "attacked"))
        for column, (eps, title) in enumerate(shown):
            axis = figure.add_subplot(
                len(records), 2, 2 * row + column + 1, projection="3d", computed_zorder=False
            )
            at = radii.index(eps)
            inside = np.isin(drawn["predicted"][at], drawn["classes"])
            colours = np.where(inside, [palette[t] for t in drawn["true"]], OUTSIDE)
            dots = np.array(drawn["points"][at])
            _tetrahedron(axis, np.array(drawn["vertices"]), names, colours_of, reach)
            axis.scatter(*dots[~inside].T, c=colours[~inside], s=9, alpha=0.8, linewidth=0)
            axis.scatter(*dots[inside].T, c=colours[inside], s=14, alpha=0.85, linewidth=0)
            axis.set_title(f"{method}, {title}", color=_colour(method))
    return figure


def class_colours(records: Iterable[Record]) -> dict[int, str]:
    """A colour for each class that a network of some draws; the same whichever of them draw it."""
    classes = sorted({c for record in records for c in record.drawing["classes"]})
    return {c: PALETTE[number % len(PALETTE)] for number, c in enumerate(classes)}


@styled
def etf(means: np.ndarray, points: np.ndarray, labels: np.ndarray) -> Figure:
    """Four class means in 3-D with points around them.

    Args:
        means: 4 x 3; points: N x 3; labels: N.
    """
    figure = plt.figure(figsize=(4.2, 3.8))
    axis = figure.add_subplot(projection="3d", computed_zorder=False)
    _tetrahedron(axis, means, [str(c) for c in range(len(means))])
    axis.scatter(*points.T, c=[CLASS_COLOURS[y] for y in labels], s=9, alpha=0.75, linewidth=0)
    return figure


@styled
def landing(record: Record) -> Figure:
    """Where attacked points land, per class: predicted counts, norms of means, leap angles."""
    counts, at = record.per_class("predicted_counts"), np.arange(record.num_classes)
    figure, axes = plt.subplots(3, 1, figsize=(6.4, 6), sharex=True)
    colour = record.training.method.colour
    axes[0].bar(at, counts, color=colour)
    axes[0].axhline(counts.mean(), color=GREY, linestyle=":", label="uniform")
    axes[0].set_title("Attacked points by predicted label")
    axes[0].legend(loc="upper right")
    for offset, (name, label, shade) in enumerate(
        (
            ("clean_norms", "clean", "#56B4E9"),
            ("predicted_norms", "attacked, by predicted label", colour),
            ("perturbed_norms", "attacked, by true label", "#bbbbbb"),
        )
    ):
        place = at + 0.27 * (offset - 1)
        axes[1].bar(place, record.per_class(name), 0.25, label=label, color=shade)
    axes[1].set_title("Length of the centred class mean")
    axes[1].margins(y=0.3)
    axes[1].legend(ncols=3, loc="upper center")
    axes[2].bar(at, record.per_class("leap"), color=colour)
    axes[2].set_title("Angle between predicted and clean class mean (rad)")
    axes[2].set_ylim(0, 2)
    vertex_line(axes[2], record.vertex_angle)
    axes[2].set_xticks(at, record.classes)
    axes[2].set_xlabel("class")
    for axis in axes:
        axis.grid(axis="x", visible=False)
    name_ends(figure, VERTEX_NAMES)
    return figure


@styled
def leap_or_scatter(records: Records) -> Figure:
    """Points whose label the attack changed beside scatter, sorted by the same classifier: angle
    and length of the groups' means, mean over classes, and NC1/(K - 1) of the groups."""
    (title, seeds), *_ = records.items()
    groups = {"pgd": title, "scatter_in_span": "scatter, span", "scatter": "scatter, all"}
    figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.3), sharey=True)
    for axis, (measure, name) in zip(axes, GROUPED.items(), strict=True):
        for height, group in enumerate(groups):
            values = [mean(record.changed(group, measure)) for record in seeds]
            colour = _colour(title) if group == "pgd" else GREY
            axis.plot(values, [height] * len(values), "o" if group == "pgd" else "s", color=colour)
        axis.set_title(name)
        axis.set_yticks(range(len(groups)), groups.values())
        axis.set_ylim(len(groups) - 0.5, -0.5)
        if measure == "nc1":
            axis.set_xscale("log")
        else:
            from_zero(axis, "x")
    return figure


@styled
def leap_over_radii(records: Records) -> Figure:
    """The panels of `leap_or_scatter` against the radius of the attack, for the points whose label
    changed there and for as many that scatter; where at some seed less than a tenth of the points
    changed it nothing is drawn."""
    (title, seeds), *_ = records.items()
    enough = np.array([record.enough_changed for record in seeds]).all(0)
    groups = {
        "scatter": ("targeted", "scatter, all"),
        "scatter_in_span": ("gauss", "scatter, span"),
        "pgd": ("pgd", title),
    }
    figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.6))
    for axis, (measure, name) in zip(axes, GROUPED.items(), strict=True):
        for group, (kind, label) in groups.items():
            rows = [record.swept_changed(group, measure) for record in seeds]
            shown = np.where(enough, rows, math.nan)
            colour = _colour(title) if group == "pgd" else GREY
            _line(axis, seeds[0].radii, shown, title, kind, colour, label)
        axis.set_title(name)
        axis.set_xlabel("ε (1/255)")
        if measure == "nc1":
            axis.set_yscale("log")
        else:
            from_zero(axis, "y")
    name_ends(figure, {label: label.replace(", ", ",\n") for _, label in groups.values()})
    return figure


@styled
def without_learning(records: Records) -> Figure:
    """NCC accuracy under attack at every layer, trained, before training, and of the pixels."""
    (title, seeds), *_ = records.items()
    names = seeds[0].layers["names"]
    figure, axis = plt.subplots(figsize=(5.4, 2.9))
    before = [record.untrained("pgd") for record in seeds]
    pixels = [record.pixels("pgd") for record in seeds]
    trained = [record.layer_curve("pgd", "ncc_accuracy") for record in seeds]
    _line(axis, range(len(names)), trained, title, "pgd")
    axis.plot(range(len(names)), np.mean(before, 0), ":s", color=GREY, label="before training")
    axis.plot(range(len(names)), [np.mean(pixels)] * len(names), color=GREY, label="pixels")
    _layer_names(axis, names)
    axis.set_ylabel("NCC accuracy under PGD")
    axis.set_ylim(-0.03, 1.03)
    own = {_label(title, "pgd"): title}
    name_ends(figure, own | {name: name for name in ("before training", "pixels")})
    return figure


@styled
def eps_sweep(records: Records) -> Figure:
    """Accuracy, NC1, equiangularity and leap angle against the radius of the attack."""
    panels = {
        "accuracy": "Accuracy under PGD",
        "nc1": "NC1: variability",
        "nc2_angles": "NC2: equiangularity, means",
        "leap": "Leap angle (rad)",
    }
    figure, axes = _grid(len(panels))
    for axis, (name, title) in zip(axes, panels.items(), strict=True):
        for method, seeds in records.items():
            _line(axis, seeds[0].radii, [record.swept(name) for record in seeds], method)
            norm = seeds[0].evaluation.attack.norm
        axis.set_xlabel(f"ε (1/255), {NORM_SYMBOLS[norm]}")
        axis.set_title(title)
        if name == "nc1":
            axis.set_yscale("log")
        else:
            from_zero(axis, "y")
    _named(figure, records, ["clean"])
    return figure


@styled
def layers(networks: dict[str, list[Record] | list[Survey]]) -> Figure:
    """NC1, NC2 and NCC accuracy at every layer, clean and attacked, of records or surveys."""
    measures = ("nc1", "nc2_norms", "nc2_angles", "ncc_accuracy")
    figure, axes = _grid(len(measures))
    for axis, measure in zip(axes, measures, strict=True):
        heading, logarithmic = MEASURES[measure]
        for title, measured in networks.items():
            names = measured[0].layers["names"]
            for kind in ("clean", "pgd"):
                rows = [network.layers[kind][measure] for network in measured]
                _line(axis, range(len(names)), rows, title, kind)
        axis.set_title(heading)
        _layer_names(axis, names)
        if logarithmic:
            axis.set_yscale("log")
        else:
            from_zero(axis, "y")
    _named(figure, networks, ("clean", "pgd"))
    return figure


@styled
def adaptive_layers(records: Records, stronger: Records) -> Figure:
    """NCC accuracy at every layer, attacked at the output and at the layer; a panel per method.

    Args:
        records, stronger: the same networks, the latter under stronger attacks.
    """
    figure, axes = _grid(len(records))
    for axis, (method, seeds) in zip(axes, records.items(), strict=True):
        names = seeds[0].layers["names"]
        for kind, measured, points in (
            ("clean", seeds, "clean"),
            ("pgd", seeds, "pgd"),
            ("adaptive", stronger[method], "pgd"),
        ):
            rows = [record.layer_curve(points, "ncc_accuracy") for record in measured]
            _line(axis, range(len(names)), rows, method, kind)
        axis.set_title(method)
        _layer_names(axis, names)
        axis.set_ylabel("NCC accuracy")
        axis.set_ylim(-0.03, 1.03)
    key(figure, [KINDS[kind] for kind in ("clean", "pgd", "adaptive")])
    return figure


@styled
def against_loss(records: Records) -> Figure:
    """Collapse of attacked points against the loss on them, snapshot by snapshot, so that
    networks that learn at different speeds are compared where they fit equally well: from the loss
    of guessing on. What has learnt nothing stays at the left edge and sets no axis."""
    panels = {
        "nc1": "NC1: variability",
        "nc2_angles": "NC2: equiangularity, means",
        "nc3": "NC3: self-duality",
    }
    guessing = math.log(next(iter(records.values()))[0].num_classes)
    figure, axes = plt.subplots(1, len(panels), figsize=(6.4, 2.9))
    for axis, (measure, name) in zip(axes, panels.items(), strict=True):
        learnt = []
        for method, seeds in records.items():
            for record in seeds:
                loss, values = record.curve("pgd", "loss"), record.curve("pgd", measure)
                axis.plot(loss, values, "-", color=_colour(method), alpha=0.8)
                axis.plot(loss[-1], values[-1], "o", color=_colour(method))
                learnt += [
                    pair for pair in zip(loss, values, strict=True) if pair[0] < 0.9 * guessing
                ]
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.invert_xaxis()
        if learnt:
            losses, values = np.array(learnt).T
            axis.set_xlim(1.1 * guessing, losses.min() / 1.5)
            axis.set_ylim(values.min() / 1.3, values.max() * 1.3)
        log_ticks(axis, "x")
        log_ticks(axis, "y")
        axis.set_title(name)
    figure.supxlabel("cross-entropy on attacked points, falling to the right", fontsize=8.5)
    handles = [Line2D([], [], color=_colour(title), label=title) for title in records]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


@styled
def subspaces(records: Records) -> Figure:
    """What class means span, at the end: the spectrum of Sigma_B as shares (left), equal for a
    simplex, and the principal angles to the span of the clean means (right); in grey what random
    means give. A line per method and perturbation."""
    figure, axes = _grid(2)
    panels = {
        "spectrum": ("Eigenvalues of Σ_B, shares", ("clean", "pgd", "gauss")),
        "principal_angles": ("Principal angles to clean (rad)", ("pgd", "gauss")),
    }
    for axis, (name, (title, kinds)) in zip(axes, panels.items(), strict=True):
        for method, seeds in records.items():
            for kind in kinds:
                rows = [record["geometry"][kind][name] for record in seeds]
                _line(axis, range(1, len(rows[0]) + 1), rows, method, kind)
        axis.set_title(title)
        axis.set_xlabel("number")
    k = seeds[0].num_classes
    random = nulls.subspaces(k, seeds[0].training.num_features)
    for axis, chance in zip(axes, random, strict=True):
        axis.plot(range(1, k), chance, color=GREY, linestyle="-", label=RANDOM)
        axis.set_xticks(np.unique(np.linspace(1, k - 1, 5).astype(int)))
        from_zero(axis, "y")
    axes[0].axhline(1 / (k - 1), color="black", linewidth=0.8, label=SIMPLEX)
    key(figure, [KINDS[kind] for kind in panels["spectrum"][1]])
    names = {_label(method, "pgd"): method for method in records}
    name_ends(figure, names | {RANDOM: RANDOM, SIMPLEX: SIMPLEX})
    return figure


@styled
def without_robustness(records: Records) -> Figure:
    """Collapse and accuracy of attacked training points and of attacked test points, along
    training; one method, with the measurement `generalisation`."""
    (method, seeds), *_ = records.items()
    panels = {
        "nc1": "NC1: variability",
        "nc2_angles": "NC2: equiangularity, means",
        "accuracy": "Accuracy under PGD",
    }
    figure, axes = plt.subplots(1, len(panels), figsize=(6.4, 2.7))
    for axis, (measure, name) in zip(axes, panels.items(), strict=True):
        rows = {
            "training": ("clean", [r.curve("pgd", measure) for r in seeds]),
            "test": ("gauss", [r.test_curve("test_pgd", measure) for r in seeds]),
        }
        for label, (kind, values) in rows.items():
            _line(axis, seeds[0].epochs, values, method, kind, label=label)
        axis.set_title(name)
        _epochs(axis)
        if measure == "nc1":
            axis.set_yscale("log")
        else:
            from_zero(axis, "y")
    name_ends(figure, {"training": "training", "test": "test"}, marked=True)
    return figure


@styled
def early_layers(records: Records) -> Figure:
    """What NCC classifiers keep under attacks on themselves, against the radius; of one method,
    with the measurement `early`."""
    (method, seeds), *_ = records.items()
    shown = {  # label, colour, line, marker
        "pixels": ("pixels", GREY, "-", "o"),
        "untrained": ("first layer before training", GREY, ":", "s"),
        "first": ("first layer", _colour(method), "--", "^"),
        "last": ("last layer", _colour(method), "-", "v"),
    }
    figure, axis = plt.subplots(figsize=(5.4, 3.1))
    for name, (label, colour, line, marker) in shown.items():
        found = [record["early"] for record in seeds]
        rows = np.array([[early["clean"][name], *early[name]] for early in found], float)
        radii = [0, *found[0]["radii"]]
        banded(axis, radii, rows, colour, linestyle=line, marker=marker, label=label)
    axis.set_xlabel(f"ε (1/255), {NORM_SYMBOLS[seeds[0].evaluation.attack.norm]}")
    axis.set_ylabel("NCC accuracy, attacked itself")
    axis.set_ylim(-0.03, 1.03)
    names = {label: label.replace(" before", "\nbefore") for label, *_ in shown.values()}
    name_ends(figure, names, marked=True)
    return figure


@styled
def over_setting(series: Series, name: str, measures: Iterable[str] = ("nc1",)) -> Figure:
    """Measures of attacked points at the end of training against a setting in which networks
    differ: a panel per measure, a line per method, a dot per seed."""
    measures = tuple(measures)
    figure, axes = _grid(len(measures))
    titles = {title: None for records in series.values() for title in records}
    for axis, measure in zip(axes, measures, strict=True):
        for title in titles:
            ends = {
                value: [record.end("pgd", measure) for record in records[title]]
                for value, records in series.items()
                if title in records
            }
            means = [np.mean(dots) for dots in ends.values()]
            axis.plot(list(ends), means, color=_colour(title), label=title)
            for value, dots in ends.items():
                axis.plot([value] * len(dots), dots, "o", color=_colour(title))
        axis.set_title(MEASURES[measure][0])
        axis.set_xlabel(name)
        axis.set_xticks(list(series), [f"{value:g}" for value in series])
        axis.margins(y=0.15)
        from_zero(axis, "y")
    name_ends(figure, {title: title for title in titles})
    return figure


@styled
def drift(series: Series, unit: str) -> Figure:
    """Every test of the claims that were measured at every value of a setting: its value as a
    multiple of the bound, a dot for each value of the setting, the larger the greater the setting.

    A dot is filled where the test is met, at every seed and better than chance too. Tests whose
    bound is 0 are left out.
    """
    drawn = []  # from top to bottom, verdicts above their tests
    for verdicts in judged_series(series):
        claim, signs = verdicts[0].claim, "".join(verdict.sign for verdict in verdicts)
        drawn.append((f"{claim.id} {claim.title} {signs}", None, None, 0))
        for number, (condition, way) in enumerate(drifts(verdicts)):
            strains = [condition.strain(verdict.values[number].mean()) for verdict in verdicts]
            if not np.isnan(strains).any():
                met = [verdict.meets(number) for verdict in verdicts]
                drawn.append((condition.what, strains, met, way))
    if not drawn:
        raise NotMeasured("no claim was measured at every value")
    colours = {1: PALETTE[5], 0: GREY, -1: PALETTE[4]}
    low, high = 0.03, 30
    # a tall one: as sharp as it is read, and no heavier
    figure, axis = plt.subplots(figsize=(6.4, 0.9 + 0.21 * len(drawn)), dpi=115)
    axis.axvspan(low / 2, 1, color="#009E73", alpha=0.1, linewidth=0)
    axis.axvline(1, color=GREY, linewidth=1)
    sizes = np.linspace(3, 7.5, len(series))
    for height, (label, strains, met, way) in enumerate(drawn):
        weight = "bold" if strains is None else "normal"
        axis.annotate(
            label,
            (-0.02, height),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="center",
            fontsize=8.5,
            weight=weight,
        )
        if strains is None:
            continue
        shown, colour = np.clip(strains, low, high), colours[way]
        axis.plot(shown, [height] * len(shown), "-", color=colour, linewidth=1, alpha=0.6)
        for x, size, full in zip(shown, sizes, met, strict=True):
            face = colour if full else "white"
            axis.plot(x, height, "o", markersize=size, color=colour, markerfacecolor=face)
    axis.set_xscale("log")
    axis.set_xlim(low / 1.25, high * 1.25)
    axis.set_xticks([0.03, 0.1, 0.3, 1, 3, 10, 30], ["≤ .03", ".1", ".3", "1", "3", "10", "≥ 30"])
    axis.minorticks_off()
    axis.set_ylim(len(drawn) - 0.4, -0.6)
    axis.set_yticks([])
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("multiple of the bound, shaded where it passes")
    handles = [
        Line2D([], [], color=GREY, marker="o", linestyle="", markersize=size, label=f"{value:g}")
        for value, size in zip(series, sizes, strict=True)
    ]
    handles += [
        Line2D([], [], color=colours[way], linewidth=3, label=label)
        for way, label in ((1, "towards failing"), (-1, "away"), (0, "neither"))
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, title=unit)
    return figure


@styled
def beside_paper(scales: dict[str, Records]) -> Figure:
    """What the paper reports, a panel for each curve of its figures, beside ours at several
    scales, a dot for each seed; a band is the paper's value with its reading error.

    Args:
        scales: records by letter, as `rnc.study.paper.comparable` gives them.
    """
    shown, names = curves(), list(scales)
    figure, axes = _grid(len(shown))
    for axis, curve in zip(axes, shown, strict=True):
        for height, records in enumerate(scales.values()):
            values = curve.ours(records)
            style = {"color": _colour(curve.method), "label": names[height]}
            axis.plot(values, [height] * len(values), "o", markersize=5, **style)
        if curve.value is not None:
            low, high = curve.value - curve.error, curve.value + curve.error
            axis.axvspan(low, high, color=PALETTE[6], alpha=0.5, linewidth=0)
            axis.axvline(curve.value, color=GREY)
        if curve.measure == "nc1":
            axis.set_xscale("log")
            log_ticks(axis, "x")
        else:
            from_zero(axis, "x")
        source = f"figure {curve.figure}; paper: {curve.reported}"
        axis.set_title(f"{curve.what}\n({source})", fontsize=9)
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(len(names) - 0.5, -0.5)
    return figure


def _colour(title: str) -> str:
    """Of a method, or of a network of the reader's own."""
    return next((m.colour for m in METHODS.values() if m.title == title), OTHER)


def _line(
    axis: Axes,
    x: Iterable,
    rows: list[list],
    method: str,
    kind: str = "clean",
    colour: str | None = None,
    label: str | None = None,
) -> None:
    """`banded`, in the styles of a method and a perturbation, and by their names or another."""
    _, line, marker = KINDS[kind]
    style = {"linestyle": line, "marker": marker, "label": label or _label(method, kind)}
    banded(axis, x, np.array(rows, float), colour or _colour(method), **style)


def banded(
    axis: Axes, x: Iterable, rows: np.ndarray, colour: str, alpha: float = 0.2, **line
) -> None:
    """The mean of the rows, one per seed, and where there are several a band from the lowest to
    the highest, as opaque as alpha; `line`, keywords of matplotlib, says how the mean is drawn."""
    axis.plot(x, rows.mean(0), color=colour, **line)
    if len(rows) > 1:
        axis.fill_between(x, rows.min(0), rows.max(0), color=colour, alpha=alpha, linewidth=0)


def _grid(count: int) -> tuple[Figure, list[Axes]]:
    """Panels two abreast, so that they can be read at the width of a phone."""
    columns = min(count, 2)
    rows = math.ceil(count / columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.2 * columns, 2.3 * rows + 0.4), squeeze=False
    )
    for axis in axes.flat[count:]:
        axis.remove()
    return figure, list(axes.flat[:count])


def _layer_names(axis: Axes, names: list[str]) -> None:
    axis.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8.5)


def _epochs(axis: Axes) -> None:
    axis.set_xscale("symlog", linthresh=1)
    axis.set_xlim(left=-0.2)
    ticks = [0, 1, 10, 100]
    last = axis.get_lines()[0].get_xdata()[-1]
    axis.set_xticks([t for t in ticks if t <= last], [str(t) for t in ticks if t <= last])
    axis.minorticks_off()
    axis.set_xlabel("epoch")


def _collapsed(axis: Axes, measure: str, num_classes: int) -> None:
    """Shades where a measure is within the bound of collapse."""
    for known in MEASURED:
        if known.name == measure and known.bound:
            bound = known.bound * (num_classes - 1 if known.per_class else 1)
            low, high = axis.get_ylim()
            low = min(low, bound / 3) if axis.get_yscale() == "log" else low
            axis.axhspan(low, bound, color=CLASS_COLOURS[2], alpha=0.15, linewidth=0)
            axis.set_ylim(low, max(high, 1.2 * bound))
            if measure in LEAD:
                axis.annotate(
                    "within the bound", (0.01, bound), xycoords=("axes fraction", "data"),
                    ha="left", va="top", fontsize=8.5, color=GREY,
                )  # fmt: skip


def vertex_line(axis: Axes, angle: float) -> None:
    axis.axhline(angle, color=GREY, linestyle=":", label=VERTICES)


def from_zero(axis: Axes, name: str) -> None:
    """Lets the axis "x" or "y" begin at 0, less what a marker there needs to be whole."""
    _, high = getattr(axis, f"get_{name}lim")()
    getattr(axis, f"set_{name}lim")(-0.03 * high, high)


def log_ticks(axis: Axes, name: str) -> None:
    """Ticks of the logarithmic axis "x" or "y" as plain numbers, few enough to stand apart."""
    low, high = sorted(getattr(axis, f"get_{name}lim")())
    of, decades = getattr(axis, f"{name}axis"), math.log10(high / low)
    # over many decades no tick at all would be left of those between them
    subs = (1, 2, 5) if decades < 1 else (1, 3) if decades < 2.5 else (1,)
    of.set_major_locator(LogLocator(subs=subs))
    of.set_major_formatter("{x:g}")
    of.set_minor_formatter(NullFormatter())


def _named(figure: Figure, titles: Iterable[str], kinds: Iterable[str]) -> None:
    """Names lines of `_line` at their ends: by perturbation where there is one method, else by
    method; then a key above says what the line styles of several perturbations are."""
    titles, kinds = tuple(titles), tuple(kinds)
    if len(titles) == 1 and len(kinds) > 1:
        names = {_label(titles[0], k): KINDS[k][0].removeprefix("Gaussian ") for k in kinds}
        name_ends(figure, names, marked=True)
        return
    if len(kinds) > 1:
        key(figure, [KINDS[kind] for kind in kinds])
    names = {_label(title, kinds[0]): title.replace(" (", "\n(") for title in titles}
    name_ends(figure, names | VERTEX_NAMES)


def key(figure: Figure, styles: Iterable[tuple[str, str, str]]) -> None:
    """What line styles stand for, in a row above the panels: of each its name, line and marker."""
    handles = [
        Line2D([], [], color=GREY, linestyle=line, marker=marker, label=name)
        for name, line, marker in styles
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))


def _label(method: str, kind: str) -> str:
    return f"{method}, {KINDS[kind][0]}"


def _tetrahedron(
    axis: Axes,
    vertices: np.ndarray,
    names: list[str],
    colours: Iterable[str] = CLASS_COLOURS,
    reach: float = 0.9,
) -> None:
    for i, (vertex, name, colour) in enumerate(zip(vertices, names, colours, strict=False)):
        axis.plot(*np.stack([np.zeros(3), vertex]).T, color=colour, linewidth=2.5)
        axis.text(*(1.3 * vertex), name, ha="center", va="center", weight="bold", color=colour)
        for other in vertices[:i]:
            axis.plot(*np.stack([vertex, other]).T, color="#cccccc", linewidth=0.7)
    axis.set_axis_off()
    axis.set_box_aspect((1, 1, 1), zoom=1.12)
    for setter in (axis.set_xlim, axis.set_ylim, axis.set_zlim):
        setter(-reach, reach)
    axis.view_init(elev=14, azim=65)
