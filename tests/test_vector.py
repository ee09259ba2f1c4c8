"""Figures as SVG that a page takes in, and their data as CSV."""

import csv
import io
import re

import numpy as np
import pytest
from bs4 import BeautifulSoup
from matplotlib import pyplot as plt
from test_plots import record

from rnc.show import plots, vector


def boxes(picture, name):
    found = re.search(rf'data-{name}="([^"]*)"', picture)[1]
    return [[float(number) for number in box.split()] for box in found.split(";") if box]


def rows(figure):
    return list(csv.DictReader(io.StringIO(vector.data(figure))))


@pytest.fixture
def curves():
    return plots.training_curves({"ST": [record([0.2, 0.4])], "AT": [record([0.1, 0.3])]})


def test_a_notebook_keeps_the_picture_and_its_data(curves):
    kept = curves._repr_mimebundle_()
    assert kept.keys() == {"image/svg+xml", "text/csv"}
    assert ">NC1: variability</text>" in kept["image/svg+xml"]  # text can be read and searched


def test_a_picture_says_where_its_panels_and_the_entries_of_its_legend_are(curves):
    picture = vector.svg(curves)
    width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', picture).groups())
    panels, legend = boxes(picture, "panels"), boxes(picture, "legend")
    assert len(panels) == 8
    assert len(legend) == 3  # kinds of points; methods are named at their lines
    for number, (x, y, w, h) in enumerate(panels):
        assert -vector.MARGIN <= x < x + w <= width + vector.MARGIN
        assert -vector.MARGIN <= y < y + h <= height + vector.MARGIN
        for other in panels[:number]:
            apart = x >= other[0] + other[2] or other[0] >= x + w
            over = y >= other[1] + other[3] - 2 * vector.MARGIN or other[1] >= y + h
            assert apart or over


def test_panels_whose_ticks_a_neighbour_names_stay_together():
    figure, _ = plt.subplots(2, 2, sharey="row")
    plt.close(figure)
    assert len(boxes(vector.svg(figure), "panels")) == 2
    figure, axis = plt.subplots()
    axis.twinx()
    plt.close(figure)
    assert len(boxes(vector.svg(figure), "panels")) == 1


def test_data_are_what_is_drawn():
    figure = plots.training_curves({"ST": [record([0.2, 0.4]), record([0.4, 0.8])]}, ["nc1"])
    found = [row for row in rows(figure) if row["series"] == "ST, clean"]
    assert [(row["x"], row["y"]) for row in found] == [("0", "0.3"), ("1", "0.6")]
    assert {row["panel"] for row in found} == {"NC1: variability"}


def test_dots_bars_and_images_are_data_and_a_line_across_the_panel_is_none():
    figure, (dots, bars, image) = plt.subplots(1, 3)
    plt.close(figure)
    dots.scatter([1, 2], [3, 4], label="some")
    dots.axhline(7)
    bars.bar(["a", "b"], [5, 6], label="counts")
    image.imshow(np.array([[1.5, 2.5]]))
    photograph, axis = plt.subplots()
    plt.close(photograph)
    axis.imshow(np.zeros((2, 2, 3)))
    assert vector.bundle(photograph).keys() == {"image/svg+xml"}
    found = [tuple(row.values()) for row in rows(figure)]
    assert found == [
        ("panel 1", "some", "1", "3", ""),
        ("panel 1", "some", "2", "4", ""),
        ("panel 2", "counts", "0", "5", ""),
        ("panel 2", "counts", "1", "6", ""),
        ("panel 3", "series 1", "0", "0", "1.5"),
        ("panel 3", "series 1", "1", "0", "2.5"),
    ]


def test_data_in_space_have_three_coordinates():
    means = np.eye(3)[[0, 1, 2, 0]]
    figure = plots.etf(means, np.array([[0.1, 0.2, 0.3]]), np.array([0]))
    assert {"x": "0.1", "y": "0.2", "value": "0.3"}.items() <= rows(figure)[-1].items()


def test_two_pictures_of_one_page_do_not_meet(curves):
    page = "".join(
        vector.inlined(vector.svg(curves), 'A "loss" & more', f"figure-{n}") for n in (1, 2)
    )
    assert "<style" not in page
    parsed = BeautifulSoup(page, "html.parser")
    first, second = parsed.find_all(class_="rnc-figure")
    assert first.svg["role"] == "img"
    assert first.svg["aria-label"] == 'A "loss" & more'
    names = [element["id"] for element in parsed.find_all(id=True)]
    assert len(names) == len(set(names)) > 2
    for one, name in ((first, "#figure-1"), (second, "#figure-2")):
        parts = one.select(".rnc-narrow use")
        assert len(parts) == 8 + 3
        assert {part["href"] for part in parts} == {name}


def test_the_colours_of_the_page_are_those_of_the_picture(curves):
    page = vector.inlined(vector.svg(curves), "curves", "figure-1")
    assert "#000000" not in page
    assert "#e5e5e5" not in page
    assert "currentcolor" in page


def test_a_figure_that_cannot_be_drawn_is_still_a_picture():
    bare = plots.training_curves({"ST": [record([0.2, 0.4])]}, ["kl"])
    assert "Not drawn" in vector.inlined(vector.svg(bare), "nothing", "figure-1")
