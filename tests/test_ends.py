"""Lines named at their ends: where the names stand."""

import itertools

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.text import Annotation, Text
from test_plots import record

from rnc.show import plots
from rnc.show.ends import name_ends


def named(figure):
    """For each panel the names with the box in which they are drawn."""
    figure.draw_without_rendering()
    return [
        [(one, Text.get_window_extent(one)) for one in axis.texts if isinstance(one, Annotation)]
        for axis in figure.axes
    ]


@pytest.fixture
def drawn():
    figure, axis = plt.subplots(layout="constrained")
    plt.close(figure)
    for label, end in (("a", 0.5), ("b", 0.5), ("c", 0.9), ("unnamed", 0.1)):
        axis.plot([0, 1], [0, end], label=label)
    axis.set_ylim(0, 1)
    return figure, axis


def test_each_line_has_its_name_and_colour_right_of_the_panel_and_none_hides_another(drawn):
    figure, axis = drawn
    name_ends(figure, {"a": "first", "b": "second\nof two", "c": "third"})
    (found,) = named(figure)
    assert [one.get_text() for one, _ in found] == ["first", "second\nof two", "third"]
    assert [one.get_color() for one, _ in found] == [line.get_color() for line in axis.lines[:3]]
    for _, box in found:
        assert axis.bbox.x1 < box.x0 < box.x1 <= figure.bbox.x1
    for (_, box), (_, other) in itertools.combinations(found, 2):
        assert box.y0 >= other.y1 or other.y0 >= box.y1


def test_a_name_with_room_stands_at_the_height_of_its_end(drawn):
    figure, axis = drawn
    name_ends(figure, {"a": "first", "c": "third"})
    for (_, box), end in zip(named(figure)[0], (0.5, 0.9), strict=True):
        height = axis.transData.transform((1, end))[1]
        assert (box.y0 + box.y1) / 2 == pytest.approx(height, abs=1)


def test_names_keep_the_order_of_the_ends_and_their_mean_height():
    figure, axis = plt.subplots(layout="constrained")
    plt.close(figure)
    ends = [0.52, 0.5, 0.51, 0.49]
    for number, end in enumerate(ends):
        axis.plot([0, 1], [0, end], label=str(number))
    axis.set_ylim(0, 1)
    name_ends(figure, {str(number): str(number) for number in range(4)})
    centres = [(box.y0 + box.y1) / 2 for _, box in named(figure)[0]]
    assert np.argsort(centres).tolist() == np.argsort(ends).tolist()
    mean = axis.transData.transform((1, np.mean(ends)))[1]
    assert np.mean(centres) == pytest.approx(mean, abs=2)


def test_a_line_that_ends_early_or_beyond_is_named_where_it_was_last_seen():
    figure, axis = plt.subplots(layout="constrained")
    plt.close(figure)
    axis.plot([0, 1, 2], [0.5, 0.2, np.nan], label="early")
    axis.plot([0, 1, 2], [0.5, 3, 7], label="beyond")
    axis.plot([0, 1], [np.nan, np.nan], label="nowhere")
    axis.axhline(0.7, label="across")
    axis.set_ylim(0, 1)
    name_ends(figure, dict.fromkeys(("early", "beyond", "nowhere", "across"), "name"))
    places = [one.xy for one, _ in named(figure)[0]]
    assert places == [(1, 0.2), (2, 1), (axis.get_xlim()[1], 0.7)]


def test_one_method_is_named_by_points_with_markers_and_several_by_method():
    one = plots.training_curves({"ST": [record([0.2, 0.4])]})
    assert not one.legends
    for found in named(one):
        assert {text.get_text() for text, _ in found} - {"within the bound"} == {
            "● clean",
            "▲ PGD",
            "■ noise",
        }
    two = plots.training_curves({"ST": [record([0.2, 0.4])], "AT": [record([0.1, 0.3])]})
    (key,) = two.legends
    assert [text.get_text() for text in key.get_texts()] == ["clean", "PGD", "Gaussian noise"]
    for found in named(two):
        assert {text.get_text() for text, _ in found} - {"within the bound"} == {"ST", "AT"}
