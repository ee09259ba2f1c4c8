"""Figures show what records hold; how they look is for eyes."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from test_claims import by_title, put, seed_of_all

from rnc.models import num_features
from rnc.show import plots
from rnc.study import nulls
from rnc.study.methods import METHODS
from rnc.study.record import Record
from rnc.study.settings import Study


def record(values, nc1=(9.0, 3.0), method="st"):
    study = Study.of()
    measures = {name: list(values) for name in plots.COLLAPSE} | {"accuracy": list(values)}
    layers = {
        points: dict.fromkeys(("nc2_norms", "nc2_angles", "ncc_accuracy"), values) | {"nc1": nc1}
        for points in ("clean", "pgd")
    }
    measured = {
        "trajectory": {"epochs": [0, 1]} | dict.fromkeys(plots.KINDS, measures),
        "layers": {"names": ["a", "b"]} | layers,
    }
    measured = {name: {"values": found} for name, found in measured.items()}
    trained = {"classes": list("0123456789")}
    return Record(study.training(method), study.evaluation, trained, measured)


def test_of_several_seeds_the_line_is_the_mean_and_the_band_goes_to_the_ends():
    seeds = [record([0.2, 0.4]), record([0.4, 1.0])]
    (axis,) = plots.training_curves({"ST": seeds}, ["accuracy"], ["clean"]).axes
    (line,) = axis.get_lines()
    assert list(line.get_ydata()) == pytest.approx([0.3, 0.7])
    (band,) = axis.collections
    corners = band.get_paths()[0].vertices
    assert {tuple(np.round(c, 6)) for c in corners} >= {(0, 0.2), (0, 0.4), (1, 0.4), (1, 1.0)}
    (alone,) = plots.training_curves({"ST": seeds[:1]}, ["accuracy"], ["clean"]).axes
    assert not alone.collections


def test_a_record_that_is_older_than_a_measure_is_left_out():
    old, new = record([0.2, 0.4]), record([0.4, 1.0])
    new.measured["trajectory"]["values"]["pgd"] |= {"kl": [0.1, 0.2]}
    axes = plots.training_curves({"ST": [new], "AT": [new, old]}, ["kl"], ["pgd"]).axes
    assert [list(line.get_ydata()) for line in axes[0].lines] == [[0.1, 0.2]] * 2
    shown = plt.get_fignums()
    bare = plots.training_curves({"ST": [old]}, ["loss"], ["pgd"])
    assert not bare.axes
    assert plt.get_fignums() == shown  # what was begun is not shown beside it
    assert bare.texts[0].get_text() == (
        "Not drawn: of these networks loss was not measured along training."
    )


def test_lines_and_the_table_of_a_figure_have_the_names_that_are_shown():
    one = record([0.4, 0.1])
    test = {name: [0.5, 0.6] for name in ("nc1", "nc2_angles", "accuracy")}
    one.measured["generalisation"] = {"values": {"test_pgd": test}}
    for axis in plots.without_robustness({"AT": [one]}).axes:
        assert [line.get_label() for line in axis.lines] == ["training", "test"]
    groups = {name: [None, 0.5, 0.6] for name in plots.GROUPED} | {"share": [0.0, 0.09, 0.1]}
    one.measured["sweep"] = {
        "values": {
            "eps": [0, 4, 8],
            "changed": dict.fromkeys(("pgd", "scatter", "scatter_in_span"), groups),
        }
    }
    for axis in plots.leap_over_radii({"ST": [one]}).axes:
        assert [line.get_label() for line in axis.lines] == ["scatter, all", "scatter, span", "ST"]
        for line in axis.lines:  # of groups of a few points nothing
            assert np.isfinite(line.get_ydata()).tolist() == [False, False, True]


def test_collapse_is_drawn_against_the_loss_with_a_dot_at_the_end():
    one = record([0.4, 0.1])
    one.measured["trajectory"]["values"]["pgd"] |= {"loss": [2.0, 0.5]}
    for axis in plots.against_loss({"AT": [one]}).axes:
        curve, dot = axis.lines
        assert curve.get_xydata().tolist() == [[2.0, 0.4], [0.5, 0.1]]
        assert dot.get_xydata().tolist() == [[0.5, 0.1]]
        assert axis.xaxis_inverted()


def test_a_network_that_learns_nothing_sets_no_axis_of_collapse_against_the_loss():
    learns, idle = record([0.4, 0.1]), record([1e6, 1e6])
    learns.measured["trajectory"]["values"]["pgd"] |= {"loss": [2.0, 0.5]}
    idle.measured["trajectory"]["values"]["pgd"] |= {"loss": [2.5, 2.30]}
    for axis in plots.against_loss({"AT": [learns], "AT (frozen BN)": [idle]}).axes:
        left, right = axis.get_xlim()
        assert np.log(10) < left < 2.6
        assert right < 0.5
        assert axis.get_ylim()[1] < 1
    for axis in plots.against_loss({"AT (frozen BN)": [idle]}).axes:
        assert axis.xaxis_inverted()


def test_attacks_on_a_layer_stand_beside_those_on_the_output():
    own, adaptive = record([0.5, 0.9]), record([0.1, 0.2])
    axes = plots.adaptive_layers({"ST": [own], "AT": [own]}, {"ST": [adaptive], "AT": [own]}).axes
    shown = [[list(line.get_ydata()) for line in axis.get_lines()] for axis in axes]
    assert shown == [[[0.5, 0.9], [0.5, 0.9], [0.1, 0.2]], [[0.5, 0.9]] * 3]
    assert [axis.get_title() for axis in axes] == ["ST", "AT"]
    assert {axis.get_lines()[2].get_linestyle() for axis in axes} == {":"}


def test_against_a_setting_every_seed_has_a_dot_on_its_value():
    series = {1: {"TRADES": [record([1, 3])]}, 6: {"TRADES": [record([1, 5]), record([1, 7])]}}
    (axis,) = plots.over_setting(series, "β", ["nc2_angles"]).axes
    line, *dots = [axis_line.get_xydata().tolist() for axis_line in axis.get_lines()]
    assert line == [[1, 3], [6, 6]]
    assert dots == [[[1, 3]], [[6, 5], [6, 7]]]


def test_every_test_of_a_series_is_a_row_and_what_fails_is_hollow_and_outside():
    series = {size: by_title(*seed_of_all()) for size in (25, 50)}
    for size, nc3 in ((25, 0.1), (50, 0.4)):  # bound 0.2
        put(series[size]["ST"][0], ("trajectory", "clean", "nc3", -1), nc3)
    (axis,) = plots.drift(series, "images").axes
    height = next(t.xy[1] for t in axis.texts if t.get_text() == "ST, clean points: NC3")
    low, high = [
        line
        for line in axis.get_lines()
        if line.get_marker() == "o" and line.get_ydata()[0] == height
    ]
    assert [low.get_xdata()[0], high.get_xdata()[0]] == [pytest.approx(0.5), pytest.approx(2)]
    assert low.get_markerfacecolor() == low.get_color() == high.get_color() == plots.PALETTE[5]
    assert high.get_markerfacecolor() == "white"
    assert low.get_markersize() < high.get_markersize()
    assert "Not drawn" in plots.drift({}, "images").texts[0].get_text()


def test_methods_keep_their_colours_and_others_have_one():
    figure = plots.layers({"AT": [record([0.1, 0.2])], "mine": [record([0.3, 0.4])]})
    colours = [line.get_color() for line in figure.axes[0].get_lines()]
    assert colours == [METHODS["at"].colour] * 2 + [plots.OTHER] * 2
    own = [method.colour for method in METHODS.values()]
    assert len({*own, plots.OTHER}) == len(own) + 1


@pytest.mark.parametrize("high", [0.2, 1, 30, 3000, 1e6])
@pytest.mark.parametrize("name", ["x", "y"])
def test_a_logarithmic_axis_has_a_few_ticks_over_any_range(name, high):
    figure, axis = plt.subplots(figsize=(2, 2))
    plt.close(figure)
    getattr(axis, f"set_{name}scale")("log")
    getattr(axis, f"set_{name}lim")(0.08, high)
    plots.log_ticks(axis, name)
    figure.draw_without_rendering()
    ticks = getattr(axis, f"get_{name}ticks")()
    assert 2 <= sum(0.08 <= tick <= high for tick in ticks) <= 6


def test_no_marker_is_cut_at_the_edge_of_its_panel():
    """Of values at both ends of what can be: none and all."""
    ends = record([0.0, 1.0])
    swept = {"accuracy": [1.0, 0.0], "nc1": [1.0, 9.0], "nc2_angles": [0, 0.4], "leap": [0, 0.4]}
    ends.measured["sweep"] = {"values": {"eps": [0, 8]} | swept}
    figures = (
        plots.training_curves({"ST": [ends]}),
        plots.layers({"ST": [ends]}),
        plots.eps_sweep({"ST": [ends]}),
    )
    for axis in (axis for figure in figures for axis in figure.axes):
        low, high = sorted(axis.get_ylim())
        for line in axis.lines:
            values = np.array(line.get_ydata())
            drawn = values > 0 if axis.get_yscale() == "log" else np.isfinite(values)
            assert low < values[drawn].min() <= values[drawn].max() < high, axis.get_title()


def test_what_is_called_collapsed_is_shaded():
    figure = plots.training_curves({"ST": [record([5.0, 0.4])]}, ["nc1", "nc3", "accuracy"])
    zones = [[patch.get_y() + patch.get_height() for patch in a.patches] for a in figure.axes]
    assert zones == [[pytest.approx(0.9)], [pytest.approx(0.2)], []]  # a tenth, of K - 1 = 9
    for axis, (zone,) in zip(figure.axes[:2], zones[:2], strict=True):
        low, high = axis.get_ylim()
        assert low < zone < high


def test_spans_of_means_are_drawn_beside_those_of_random_ones_and_a_simplex():
    one = record([0.1, 0.2])
    kinds = {"clean": 0.2, "pgd": 0.4, "gauss": 0.3}
    one.measured["geometry"] = {
        "values": {
            kind: {"spectrum": [value] * 9, "principal_angles": [value] * 9}
            for kind, value in kinds.items()
        }
    }
    spectrum, angles = plots.subspaces({"ST": [one]}).axes
    drawn = [[line.get_ydata()[0] for line in axis.get_lines()] for axis in (spectrum, angles)]
    width = one.training.width
    random = [of[0] for of in nulls.subspaces(10, num_features(width))]
    assert drawn == [[0.2, 0.4, 0.3, random[0], 1 / 9], [0.4, 0.3, random[1]]]
