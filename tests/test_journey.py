"""The page from chaos to the simplex: what moves is what records hold, and so is what is said."""

import copy
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from rnc.show.journey import Moving, chart, journey, number, seen
from rnc.study.findings.finding import span
from rnc.study.record import NotMeasured
from rnc.study.records import records
from rnc.study.settings import Evaluation, Study


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Records of ST and AT, of a second, with the way to their simplices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNC_STORE", str(tmp_path_factory.mktemp("store")))
        study = Study.of(width=2, epochs=3, steps=2, per_class=20)
        found = records(study, "ST", "AT", extra=["journey"])
    return found["ST"][0], found["AT"][0]


@pytest.fixture(scope="module")
def page(both):
    return journey(*both).html


@pytest.fixture(scope="module")
def given(page):
    return json.loads(re.search(r"data = (\{.*\});", page)[1])


def test_frames_are_the_snapshots_and_then_the_radii(both, given):
    st, at = both
    assert given["epochs"] == st["journey"]["epochs"] == [0, 1, 2, 3]
    assert given["radii"] == [0, 1, 2, 4, 6, 8]
    one, other = given["networks"]
    drawn = st["journey"]["points"] + st.drawing["points"][1:6]
    for frame, points in zip(one["points"], drawn, strict=True):
        assert np.array(frame).reshape(-1, 3) / 1000 == pytest.approx(np.array(points))
    for frame, points in zip(other["points"], at.drawing["points"], strict=False):
        assert np.array(frame).reshape(-1, 3) / 1000 == pytest.approx(np.array(points))
    assert len(one["means"]) == len(one["out"]) == len(one["right"]) == 9
    assert len(other["means"]) == len(other["out"]) == len(other["right"]) == 6
    assert np.array(one["means"][3]).reshape(4, 3) / 1000 == pytest.approx(
        np.array(one["means"][4]).reshape(4, 3) / 1000, abs=0.0011
    )


def test_dots_are_counted_as_they_are_coloured(both, given):
    st, _ = both
    guesses = np.array(st["journey"]["predicted"] + st.drawing["predicted"][1:6])
    own = np.array(st.drawing["true"])
    one = given["networks"][0]
    assert [st.drawing["classes"][number] for number in one["own"]] == own.tolist()
    for row, out, right, grey in zip(guesses, one["out"], one["right"], one["grey"], strict=True):
        assert right == (row == own).sum()
        assert grey == out.count("1") == (~np.isin(row, st.drawing["classes"])).sum()


def test_a_class_has_one_colour_in_both_networks(given):
    colours = [dict(zip(one["names"], one["colours"], strict=True)) for one in given["networks"]]
    for name in colours[0].keys() & colours[1].keys():
        assert colours[0][name] == colours[1][name]


def test_the_view_has_room_for_all_that_comes_and_only_comes_closer(given):
    boxes = np.array(given["boxes"])
    assert (np.diff(boxes[:, :2], axis=0) >= 0).all()
    assert (np.diff(boxes[:, 2:], axis=0) <= 0).all()
    frames = given["networks"][0]["points"] + given["networks"][1]["points"]
    all_boxes = [*boxes, *boxes[-6:]]
    for frame, (left, low, right, high) in zip(frames, all_boxes, strict=True):
        x, y, _ = seen(np.array(frame).reshape(-1, 3) / 1000).T
        assert left - 0.01 <= x.min() <= x.max() <= right + 0.01
        assert low - 0.01 <= y.min() <= y.max() <= high + 0.01


def test_steps_begin_before_the_training_and_end_with_both_attacked(given):
    assert given["stops"][0] == [0, 0]
    assert given["stops"][3] == [3, 0]
    assert given["stops"][5] == [8, 0]
    assert given["stops"][-2:] == [[3, 1], [8, 1]]


def test_charts_show_the_measures_of_the_records(both, given):
    st, at = both
    along, over = given["charts"]["epochs"], given["charts"]["radii"]
    assert [one["name"][0] for one in along] == ["NC1", "NC2", "NC3", "NC4"]
    assert [one["name"][0] for one in over] == ["NC1", "NC2", "NC3", "accuracy"]
    assert along[0]["values"] == [[number(x) for x in st.curve("clean", "nc1")]]
    assert over[2]["values"] == [[number(x) for x in r.swept("nc3")[:6]] for r in (st, at)]
    assert over[3]["values"][1] == [span([x], ".0%") for x in at.swept("accuracy")[:6]]
    for one in along + over:
        lines = np.array(one["lines"])
        assert lines.min() >= 0
        assert lines.max() <= 1
        assert one["x"][0] == 0
        assert one["x"][-1] == 1


def test_a_chart_places_values_between_its_ticks():
    shown = chart("nc1", [0, 1, 3], [np.array([1.0, 10, 100])])
    assert shown["lines"][0] == [y for y, _ in shown["ticks"]]
    assert [word for _, word in shown["ticks"]] == ["1", "10", "100"]
    assert shown["x"] == [0, 0.3333, 1]
    assert chart("nc4", [0, 1], [np.array([0.5, 0])])["ticks"][1][1] == "100%"
    assert chart("nc3", [0, 1], [np.array([0.5, 0])])["ticks"][1][1] == "0.1"


@pytest.mark.parametrize(
    ("value", "said"), [(148.05, "148"), (3.183, "3.2"), (0.0731, "0.073"), (31, "31"), (0, "0")]
)
def test_a_number_has_two_digits_that_count(value, said):
    assert number(value) == said


def test_what_is_said_is_what_the_records_hold(both, page):
    st, at = both
    text = " ".join(re.sub(r"<script>.*", "", page, flags=re.S).split())
    one, other = (
        Moving(st, dict.fromkeys(range(10), ""), st["journey"]),
        Moving(at, dict.fromkeys(range(10), "")),
    )
    assert "NC1 sets how far" in text
    nc1, nc3 = st.curve("clean", "nc1"), st.curve("clean", "nc3")
    assert f"it went from {number(nc1[0])} to {number(nc1[1])}." in text
    assert f"it went from {number(nc3[0])} to {number(nc3[3])}." in text
    assert f"ST is right on {one.right[-1]} of 80 dots, AT on {other.right[-1]} of 80." in text
    assert f"At this radius {one.right[5]} of the 80 dots" in text
    assert f"are {number(st.swept('leap')[5])} rad apart" in text
    assert "every pixel by at most ε" in text
    changed = copy.deepcopy(st)
    changed.measured["trajectory"]["values"]["clean"]["nc1"][0] = 777.0
    changed.measured["sweep"]["values"]["accuracy"][5] = 0.123
    again = journey(changed, at).html
    assert "it went from 777 to" in again
    assert "they are right on 12% and on" in again


def test_an_attack_by_distance_is_said_to_be_one(both):
    st, at = both
    evaluation = Evaluation(replace(st.evaluation.attack, norm="l2"))
    assert (
        "every image by a distance of at most ε"
        in journey(replace(st, evaluation=evaluation), at).html
    )


def test_stills_show_every_dot(both, page):
    stills = re.findall(r"<figure>\s*<svg viewBox.*?</figure>", page, flags=re.S)
    assert len(stills) == 6
    for still in stills:
        dots = re.findall(r'<path class="dots" d="([^"]*)"', still)
        assert sum(path.count("h0") for path in dots) == 80
        grey = re.search(r'<path class="dots out" d="([^"]*)"', still)[1].count("h0")
        assert f", {grey} grey</figcaption>" in still
    captions = [re.search("<b>(.*)</b>", still)[1].replace("\u00a0", " ") for still in stills]
    assert captions[0] == "ST before training"
    assert captions[2:] == [
        "ST after 3 epochs",
        "ST, attacked with ε = 8/255",
        "AT after 3 epochs",
        "AT, attacked with ε = 8/255",
    ]


def test_a_record_without_the_way_or_an_attack_is_refused(both):
    st, at = both
    lacking = replace(st, measured={n: m for n, m in st.measured.items() if n != "journey"})
    with pytest.raises(NotMeasured, match="journey"):
        journey(lacking, at)
    unattacked = Evaluation(st.evaluation.attack.at_radius(0))
    with pytest.raises(ValueError, match="ε = 0"):
        journey(replace(st, evaluation=unattacked), at)


def test_the_page_asks_for_nothing_else(page):
    assert "://" not in page
    assert "src=" not in page
