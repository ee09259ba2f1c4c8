"""Tables show every verdict and value, in words and signs, and nothing unescaped."""

from dataclasses import replace

import pytest
from bs4 import BeautifulSoup
from test_claims import BREAKS, by_title, put, seed_of_all
from test_neighbours import NEIGHBOUR, SMALL

from rnc.show import tables
from rnc.study import claims
from rnc.study.claims import CLAIMS, judge

TWO = "CIFAR-10; VGG11; 80 epochs; PGD-10, ℓ₂ ε = 128/255, α = 15/255; seeds 0, 1"


@pytest.fixture
def found():
    """Two seeds of which one breaks C4, and a scale with ST alone."""
    two = by_title(*seed_of_all(0), *seed_of_all(1))
    title, path, value = BREAKS["C4"]
    put(two[title][1], path, value)
    return {
        "digits; VGG11; 65 epochs; PGD-10; seed 0": by_title(*seed_of_all()),
        TWO: two,
        "CIFAR-10; VGG11; 400 epochs; PGD-10; seed 0": by_title(seed_of_all()[0]),
    }


def soup(table):
    return BeautifulSoup(table._repr_html_(), "html.parser")


def test_verdicts_have_a_row_for_each_test(found):
    judged = judge(found[TWO])
    page = soup(tables.verdicts(judged))
    assert len(page.select("tr.rnc-claim")) == len(CLAIMS)
    assert len(page.select("tr.rnc-test")) == sum(len(claim.conditions) for claim in CLAIMS)
    (row,) = [r for r in page.select("tr.rnc-claim") if r.td.text == "C4"]
    said = row.get_text(" ", strip=True)
    assert "◐ partly (all tests at 1 of 2 seeds)" in said
    assert "bounds halved: partly; doubled: partly" in said
    assert row.select_one(".rnc-partly")
    test = row.find_next_sibling("tr")
    assert [cell.get_text(strip=True) for cell in test.find_all("td")][1:] == [
        "angle of the groups' means / angle between vertices ≤ 0.25",
        f"✓ {0.1 / 1.68:.3g} ± 0",
        f"{0.2 / 1.68:.3g}",
    ]


def test_scales_stand_side_by_side(found):
    page = soup(tables.scales(found))
    heads = [head.text for head in page.select("thead th")]
    assert heads[2:] == list(found)
    rows = {row.td.text: row for row in page.select("tr.rnc-claim")}
    assert list(rows) == [claim.id for claim in CLAIMS]
    assert [cell.text.strip() for cell in rows["C4"].find_all("td")[2:]] == [
        "(✓) holds (1 seed)",  # as sure as one seed
        "◐ partly (all tests at 1 of 2 seeds)",
        "(✓) holds (1 seed)",
    ]
    assert [cell.text.strip() for cell in rows["C8"].find_all("td")[2:]][-1] == "– not measured"
    assert len(page.select("tr.rnc-test")) == sum(len(claim.conditions) for claim in CLAIMS)
    some = soup(tables.scales(found, "C3", "C8"))
    assert [row.td.text for row in some.select("tr.rnc-claim")] == ["C3", "C8"]


def test_a_glance_has_a_sign_beside_each_verdict_and_leads_to_its_chapter(found):
    page = soup(tables.glance(found))
    assert [head.text for head in page.select("thead th")][2:] == ["A", "B", "C"]
    (legend,) = page.select("p.rnc-note")
    assert "B: CIFAR-10; VGG11; 80 epochs; ℓ₂ ε = 128/255; seeds 0, 1." in legend.text
    links = [link["href"] for link in page.select("a")]
    assert "../notebooks/03_attacks.html#verdicts" in links
    assert page.text.count("◐") == 1  # C4
    assert page.table.text.count("–") == sum(claim.needs != CLAIMS[0].needs for claim in CLAIMS)


def test_a_neighbour_has_a_row_with_its_verdicts_and_leads_to_its_chapter():
    judged = NEIGHBOUR.judge({"drawn": [{"value": 1.0}, {"value": 3.0}]}, [0, 1])
    page = soup(tables.neighbours([(NEIGHBOUR, judged)]))
    (row,) = page.select("tbody tr")
    assert row.a["href"] == "../notebooks/99_nothing.html#verdicts"
    assert row.a.text == "Nobody (2020)"
    assert "what is left" in row.text
    (chip,) = row.select(".rnc-chip")
    assert " ".join(chip.text.split()) == f"{SMALL.id} {judged[0].sign} 2"
    assert chip["title"] == f"{SMALL.title}: {judged[0].at_seeds}"


def test_costs_are_means_over_seeds():
    records = [seed_of_all(0)[0], seed_of_all(1)[0]]
    for seconds, one in zip((100, 140), records, strict=True):
        one.trained["environment"] = {"seconds": seconds, "device": "cpu", "torch": "2"}
        for measured in one.measured.values():
            measured["environment"] = {"seconds": 20}
    page = soup(tables.costs({"digits": by_title(*records)}))
    cells = [cell.get_text(strip=True) for cell in page.select("td")]
    assert cells == ["ST", "2 min", "2 min", "cpu", "2"]


def test_what_stands_in_a_table_is_escaped(found, monkeypatch):
    odd = replace(CLAIMS[0], statement="NC1 < 1 & <b>no</b>")
    monkeypatch.setattr(claims, "CLAIMS", (odd,))
    (records, *_) = found.values()
    for show in (tables.scales, tables.glance):
        html = show({"<i>here</i>": records}).html
        assert "<b>" not in html
        assert "<i>" not in html
        assert "NC1 &lt; 1 &amp; &lt;b&gt;" in html
