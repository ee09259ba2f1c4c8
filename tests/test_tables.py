"""Tables show every verdict and value, in words and signs, and nothing unescaped."""

import math
from dataclasses import replace

import pytest
from bs4 import BeautifulSoup
from test_claims import BREAKS, by_title, put, seed_of_all
from test_neighbours import NEIGHBOUR, SMALL

from rnc.show import matrix, tables
from rnc.study import claims, store
from rnc.study.claims import CLAIMS, judge
from rnc.study.records import by_scale, whole

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


def test_signs_leave_out_what_was_not_measured(found):
    table = tables.signs(found | {"nothing": {}})
    assert list(table.index) == list(found)
    assert list(table.columns) == [claim.id for claim in CLAIMS]
    assert list(table["C4"]) == ["(✓)", "◐", "(✓)"]
    alone = tables.signs({"ST": found["CIFAR-10; VGG11; 400 epochs; PGD-10; seed 0"]})
    assert list(alone.columns) == ["C1", "C2", "C3", "C4", "C5", "C6", "C12"]


def test_accuracies_are_means_over_seeds_with_their_deviation():
    found = by_title(*seed_of_all(0)[:2], *seed_of_all(1)[:1])
    for one, accuracy in zip(found["ST"], (0.5, 0.7), strict=True):
        one.measured["test"] = {"values": {"clean": accuracy, "pgd": accuracy / 2}}
    found["AT"][0].measured["test"] = {"values": {"clean": 0.4, "pgd": 0.3}}
    table = tables.accuracies(found)
    assert table["test, clean (%)"]["ST"] == "60.0 ± 14.1"
    assert table["test, PGD (%)"]["ST"] == "30.0 ± 7.1"
    assert table["test, clean (%)"]["AT"] == "40.0"


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
    assert "met at 1 of 2 seeds" in page.text
    some = soup(tables.scales(found, "C3", "C8"))
    assert [row.td.text for row in some.select("tr.rnc-claim")] == ["C3", "C8"]


def test_of_a_claim_that_was_not_measured_nothing_is_taken_for_granted_either_way():
    (verdict,) = judge({}, "C10a")
    page = soup(tables.verdicts([verdict])).text
    assert "takes for granted: – AT" in page


def test_answers_are_a_word_for_each_claim_and_set_of_records(found):
    some = tables.answers(dict(zip("abc", found.values(), strict=True)), "C4", "C8")
    assert list(some.columns) == list("abc")
    assert [name.split(":")[0] for name in some.index] == ["C4", "C8"]
    assert list(some.iloc[0]) == ["(✓) holds", "◐ partly", "(✓) holds"]
    assert some.iloc[1, -1] == "– not measured"


def test_a_glance_has_a_sign_beside_each_verdict_and_leads_to_its_chapter(found):
    page = soup(tables.glance(found))
    assert [head.text for head in page.select("thead th")][2:] == ["A", "B", "C"]
    (legend,) = page.select("p.rnc-note")
    assert "B: CIFAR-10; VGG11; 80 epochs; ℓ₂ ε = 128/255; seeds 0, 1." in legend.text
    links = [link["href"] for link in page.select("a")]
    assert "../notebooks/03_attacks.html#verdicts" in links
    assert page.text.count("◐") == 1  # C4
    assert page.table.text.count("–") == sum(claim.needs != CLAIMS[0].needs for claim in CLAIMS)


def test_the_matrix_has_every_claim_at_every_scale_with_its_sign_and_seeds(found):
    page = soup(matrix.matrix(found))
    rows = {row["id"]: row for row in page.select("details")}
    assert list(rows) == [claim.id for claim in CLAIMS]
    assert [head.text for head in page.select(".rnc-heads > span")] == ["", "A", "B", "C"]
    for (letter, name), verdicts in zip(
        zip("ABC", found, strict=True), map(judge, found.values()), strict=True
    ):
        assert f"{letter}: {name}." in page.get_text()
        for verdict in verdicts:
            row = rows[verdict.claim.id]
            cell = row.summary.select_one(f'[data-scale="{letter}"]')
            seeds = verdict.count
            assert cell.text.split() == [verdict.sign, *([str(seeds)] if seeds else [])]
            assert cell["class"] == [tables.CLASSES[verdict.verdict]]
            assert cell["aria-label"] == f"{letter}: {verdict.verdict}, seeds: {seeds}"
            answer = row.select_one(f'li[data-scale="{letter}"]').text
            assert f"{letter} {verdict.sign} {verdict.at_seeds}" in answer
            if seeds:
                assert f"halved: {verdict.answer(0.5)}; doubled: {verdict.answer(2)}" in answer
    assert rows["C4"].summary.text.count("◐") == 1  # what one seed breaks


def test_a_row_of_the_matrix_says_what_stands_behind_it(found):
    two = found[TWO]
    put(two["ST"][0], ("trajectory", "pgd", "accuracy", -1), 0.9)
    row = soup(matrix.matrix(found)).select_one("#C4")
    claim = next(claim for claim in CLAIMS if claim.id == "C4")
    said = row.get_text(" ", strip=True)
    assert claim.statement in said
    assert f"Paper: {claim.source}." in said
    assert row.a["href"] == "03_attacks.html#verdicts"
    assert f"{claim.premises[1]}: ✓ A, C ✗ B" in said
    assert f"{claim.premises[0]}: ✓ A, B, C" in said
    for figure, condition in zip(row.select("figure"), claim.conditions, strict=True):
        assert " ".join(figure.figcaption.text.split()) == str(condition)
    _, b, _ = row.select("figure")[0].select("g[transform]")
    assert b.text == f"B ✓ {0.1 / 1.68:.3g} ({0.2 / 1.68:.3g})"  # at the seed that is left
    assert [one.get("class") for one in b.select("circle")] == [["off"], None]


def place(figure, value):
    """Where a chart that says its ends and its kind of axis must have a value."""
    low, kind, high = (text.text for text in figure.select(".ends text"))
    ends = [float(low), float(high)]
    if kind == "logarithmic":
        *ends, value = map(math.log, (*ends, value))
    share = (value - ends[0]) / (ends[1] - ends[0])
    return matrix.LEFT + (matrix.RIGHT - matrix.LEFT) * min(max(share, 0), 1)


def test_marks_of_the_charts_lie_where_numbers_say(found):
    page = soup(matrix.matrix(found))
    kinds = {figure.select(".ends text")[1].text for figure in page.select("figure")}
    assert kinds == {"linear", "logarithmic"}
    nulls = outside = 0
    by_scale = list(map(judge, found.values()))
    for claim, verdicts in zip(CLAIMS, zip(*by_scale, strict=True), strict=True):
        figures = page.select(f"#{claim.id} figure")
        for number, (figure, test) in enumerate(zip(figures, claim.conditions, strict=True)):
            near = lambda x: pytest.approx(x, abs=0.06)  # noqa: E731
            bound = float(figure.select_one(".bound")["x"]) + 1
            assert bound == near(place(figure, test.bound))
            for verdict, row in zip(verdicts, figure.select("g[transform]"), strict=True):
                dots = [float(dot["cx"]) for dot in row.select("circle")]
                assert dots == [near(place(figure, value)) for value in verdict.values[number]]
                assert dots or row.text[-1] == "–"
                zone, *chance = row.select("path")
                start, end = map(float, zone["d"][1:].split(" 0H"))
                marks = (
                    {float(mark.split("-8")[0]) for mark in chance[0]["d"].split("M")[1:]}
                    if chance
                    else set()
                )
                expected = {n for n in verdict.nulls[number] if not math.isnan(n)}
                assert sorted(marks) == [
                    near(x) for x in sorted({place(figure, n) for n in expected})
                ]
                nulls += len(marks)
                if test.relation == "<=":
                    assert (start, end) == (matrix.LEFT, near(min(bound, *marks, matrix.RIGHT)))
                else:
                    assert (start, end) == (near(max(bound, *marks, matrix.LEFT)), matrix.RIGHT)
                if dots and verdict.meets(number):
                    assert "✓" in row.text
                    assert all(start - 0.1 <= x <= end + 0.1 for x in dots)
                elif dots:
                    assert "✗" in row.text
                    outside += 1
    assert nulls > 50
    assert outside >= 1


def at_factors(element):
    """The signs of a cell or a test at each factor."""
    shown = next(sign for sign in element.text if sign in "✓◐✗○–")
    signs = element.get("data-signs", shown * len(matrix.FACTORS))
    assert signs[matrix.FACTORS.index(1)] == shown
    return list(signs)


def test_signs_at_other_bounds_are_the_answers_at_these_factors(found):
    page, changed = soup(matrix.matrix(found)), 0
    assert {0.25, 0.5, 1, 2, 4} <= set(matrix.FACTORS)
    for letter, verdicts in zip("ABC", map(judge, found.values()), strict=True):
        for verdict in verdicts:
            row = page.select_one(f"#{verdict.claim.id}")
            signs = at_factors(row.summary.select_one(f'[data-scale="{letter}"]'))
            answers = [verdict.answer(float(factor)) for factor in matrix.FACTORS]
            assert signs == [claims.SIGNS[answer] for answer in answers]
            changed += len(set(signs)) > 1
            for number, figure in enumerate(row.select("figure")):
                test = figure.select("g[transform]")["ABC".index(letter)].tspan
                met = [verdict.meets(number, float(factor)) for factor in matrix.FACTORS]
                if verdict.values.size:
                    assert at_factors(test) == ["✗✓"[one] for one in met]
                bounds = map(float, figure["data-bounds"].split())
                test = verdict.claim.conditions[number]
                for x, bound, factor in zip(
                    figure["data-xs"].split(), bounds, matrix.FACTORS, strict=True
                ):
                    assert bound == pytest.approx(test.bound_at(float(factor)), rel=5e-3)
                    assert float(x) == pytest.approx(place(figure, bound), abs=0.5)
    assert changed > 5


def test_the_matrix_of_what_is_published_is_light(found):
    published = whole(by_scale(store.published_records()))
    (quick, *_) = found.items()
    shown = dict([quick]) | published
    assert len(shown) >= 4
    assert len(matrix.matrix(shown).html.encode()) < 1_785 * len(shown) * len(CLAIMS)


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
    *_, other = seed_of_all(0)
    for one in (other.trained, *other.measured.values()):
        one["environment"] = {"seconds": 20, "device": "cpu", "torch": "2"}
    page = soup(tables.costs({"digits": by_title(*records, other)}))
    assert f"{other.training.method.title}, 1 of the seeds" in page.text


def test_what_stands_in_a_table_is_escaped(found, monkeypatch):
    odd = replace(CLAIMS[0], statement="NC1 < 1 & <b>no</b>")
    monkeypatch.setattr(claims, "CLAIMS", (odd,))
    (records, *_) = found.values()
    for show in (tables.scales, tables.glance, matrix.matrix):
        html = show({"<i>here</i>": records}).html
        assert "<b>no" not in html
        assert "<i>" not in html
        assert "NC1 &lt; 1 &amp; &lt;b&gt;" in html


def test_geometry_is_a_mean_over_seeds_in_a_column_for_each_kind_of_points(found):
    kept = {
        "nc1": 0.9, "within": 1.0, "between": 4.0, "cdnv": 0.2, "effective_rank": 8.0,
        "nc3_lengths": 0.01, "nc3_directions": 0.1, "principal_angles": [0.1, 0.3],
        "logit_norm": 5.0, "kl": 0.0, "ncc_accuracy": 1.0,
    }  # fmt: skip
    seeds = found[TWO]["ST"]
    for one, cdnv in zip(seeds, (0.2, 0.4), strict=True):
        one.measured["geometry"]["values"] = {"clean": kept | {"cdnv": cdnv}, "pgd": kept}
    shown = tables.geometry({"ST": seeds}, "clean", "pgd")
    assert list(shown) == ["clean", "PGD"]
    assert shown["clean"].to_dict() == {
        "NC1/(K−1)": "0.1", "Tr Σ_W / Tr Σ_B": "0.25", "CDNV": "0.3", "effective rank": "8",
        "NC3, lengths": "0.01", "NC3, directions": "0.1", "largest angle": "0.3",
        "length of logits": "5", "KL": "0", "NCC accuracy": "1",
    }  # fmt: skip
    assert list(tables.geometry({"ST": seeds, "AT": seeds}, "pgd")) == ["ST, PGD", "AT, PGD"]
