"""Figures, terms and exercises of chapters, as a reader uses them."""

import csv
import re

import pytest

from .conftest import BOOK
from .test_book import soup

CHAPTERS = sorted(path.stem for path in (BOOK / "notebooks").glob("*.html"))
TEXTS = "[...document.querySelectorAll('.rnc-wide text')].map(t => getComputedStyle(t).fill)"
# of every part at the width of a phone: pixels of its smallest text
SMALLEST = """
() => [...document.querySelectorAll('.rnc-figure')].flatMap(figure => {
  const sizes = [...figure.querySelectorAll('.rnc-wide text')]
    .filter(text => !text.querySelector('tspan'))  // exponents are smaller
    .map(text => parseFloat(getComputedStyle(text).fontSize));
  return [...figure.querySelectorAll('.rnc-narrow svg')].filter(part => part.clientWidth)
    .map(part => Math.min(...sizes) * part.clientWidth / part.viewBox.baseVal.width);
})
"""


def test_text_of_figures_follows_the_theme(visit):
    seen = set()
    for scheme in ("light", "dark"):
        tab = visit("notebooks/02_standard_training.html", color_scheme=scheme)
        colour = tab.evaluate("getComputedStyle(document.querySelector('figure')).color")
        assert colour in tab.evaluate(TEXTS)
        seen.add(colour)
    assert len(seen) == 2


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_on_a_phone_panels_stand_below_each_other_and_can_be_read(visit, chapter):
    tab = visit(f"notebooks/{chapter}.html", width=390)
    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    sizes = tab.evaluate(SMALLEST)
    assert sizes
    assert min(sizes) >= 11
    wide = tab.locator(".rnc-wide").first.bounding_box()
    assert wide is None or wide["width"] < 2
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_each_figure_leads_to_its_data(chapter):
    page = soup(f"notebooks/{chapter}.html")
    figures = [one for one in page.find_all("figure") if one.select_one(".rnc-figure")]
    assert figures
    for figure in figures:
        if figure["id"] == "fig-posterior-pictures":  # images are no numbers
            continue
        link = figure.find("a", class_="download")
        path = BOOK / "notebooks" / link["href"]
        head, *rows = csv.reader(path.read_text().splitlines())
        assert head == ["panel", "series", "x", "y", "value"]
        assert rows


def test_every_figure_is_described():
    for chapter in CHAPTERS:
        for figure in soup(f"notebooks/{chapter}.html").select(".rnc-wide"):
            assert len(figure["aria-label"]) > 20


def test_a_term_says_what_it_means_where_it_is_pointed_at_or_focused(visit):
    tab = visit("notebooks/02_standard_training.html")
    term = tab.locator("a[data-definition]", has_text="PGD").first
    shown = "one => getComputedStyle(one, '::after').content"
    assert term.evaluate(shown) == "none"
    term.hover()
    assert "Projected gradient descent" in term.evaluate(shown)
    tab.mouse.move(0, 0)
    assert term.evaluate(shown) == "none"
    tab.evaluate("document.activeElement.blur()")
    term.focus()
    tab.keyboard.press("Shift+Tab")
    tab.keyboard.press("Tab")
    assert "Projected gradient descent" in term.evaluate(shown)


@pytest.mark.parametrize("scripts", [True, False])
def test_what_was_measured_is_shown_on_request(visit, scripts):
    tab = visit("notebooks/03_attacks.html", java_script_enabled=scripts)
    reveal = tab.locator("details.hide", has_text="Show what was measured")
    assert reveal.count() == 1
    assert not reveal.locator("p", has_text="labels").last.is_visible()
    reveal.locator("summary").click()
    assert reveal.locator("p", has_text="labels").last.is_visible()


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_asks_and_answers(chapter):
    page = soup(f"notebooks/{chapter}.html")
    answers = page.select("details.sd-dropdown")
    assert len(answers) == 2
    assert all(len(answer.text) > 80 for answer in answers)
    if chapter[:2] not in ("01", "10"):  # which have no verdicts or make no prediction
        assert len(page.select(".admonition.tip")) == 1


def test_the_landing_page_shows_the_chapters_as_they_are_numbered():
    page = soup("book/intro.html")
    cards = [card.text.strip() for card in page.select(".rnc-chapters a")]
    contents = [link.text.strip() for link in page.select(".bd-sidebar-primary a.internal")]
    numbered = [" ".join(title.split()) for title in contents if re.match(r"\d+\. ", title)]
    assert cards == numbered
    assert len(cards) == len(CHAPTERS)
