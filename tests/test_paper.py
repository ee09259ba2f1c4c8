"""What the paper reports stands beside what was measured, and nothing is made up."""

import pytest
from test_claims import by_title, seed_of_all

from rnc.errors import ParameterError
from rnc.show import plots, tables
from rnc.study import paper
from rnc.study.paper import Curve
from rnc.study.settings import Study

LEAP = {"figure": "4, left", "what": "leap", "method": "ST", "measure": "leap"}
KNOWN = {"value": 0.2, "error": 0.05, "read": "text"}


def test_every_curve_is_of_something_that_is_measured():
    found = by_title(*seed_of_all())
    assert len(paper.curves()) >= 8
    for curve in paper.curves():
        (value,) = curve.ours(found)
        assert value == value
        assert curve.ours({}) == []


def test_a_known_value_has_a_reading_error_and_a_source():
    known = [curve for curve in paper.curves() if curve.value is not None]
    assert all(curve.error > 0 and curve.read in ("text", "axis") for curve in known)
    assert Curve(**LEAP, **KNOWN).difference([0.1, 0.2]) == pytest.approx(-0.05)
    assert Curve(**LEAP).difference([0.1]) is None
    assert Curve(**LEAP, **KNOWN).difference([]) is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"value": 0.2}, "value, error and read must be given together"),
        (KNOWN | {"read": "memory"}, "read must be one of text, axis; got 'memory'"),
        (KNOWN | {"error": -1}, "error must be a number, at least 0; got -1"),
        ({"method": "SGD"}, "method must be one of ST, "),
    ],
)
def test_an_entry_that_is_not_whole_is_refused(wrong, message):
    with pytest.raises(ParameterError, match=message):
        Curve(**LEAP | wrong)


def test_an_unknown_key_is_named(tmp_path, monkeypatch):
    file = tmp_path / "paper.toml"
    file.write_text('[[curve]]\nfigure = "4"\nwhatever = 1\n')
    monkeypatch.setattr(paper, "REPORTED", file)
    with pytest.raises(ParameterError, match=r"paper.toml has an entry .*whatever"):
        paper.curves()


def test_only_scales_under_the_papers_attack_are_compared():
    found = by_title(*seed_of_all())
    assert found["ST"][0].evaluation == Study.of().evaluation
    assert paper.comparable({"quick": found}) == {"A": found}
    (weak,) = by_title(*seed_of_all())["ST"]
    weak = type(weak)(weak.training, Study.of(eps=4).evaluation, {}, {})
    assert paper.comparable({"weak": {"ST": [weak]}, "quick": found}) == {"B": found}


def test_table_and_figure_say_what_is_known():
    scales = {"quick": by_title(*seed_of_all()), "real": by_title(*seed_of_all(1))}
    scales = paper.comparable(scales)
    table, figure = tables.beside_paper(scales), plots.beside_paper(scales)
    for row, (curve, axis) in zip(
        table.itertuples(), zip(paper.curves(), figure.axes, strict=True), strict=True
    ):
        assert ("not known" in axis.get_title()) == (row.paper == "not known")
        assert (curve.value is None) == (row.paper == "not known")
        assert ("(" in row.A) == (curve.value is not None)
        assert len(axis.get_lines()) == 2 + (curve.value is not None)
