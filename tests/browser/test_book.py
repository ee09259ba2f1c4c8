"""The built book as a reader meets it: complete from its own files, at any width, for anyone.

Run by `make check`, which builds the book first.
"""

import functools
import re
import subprocess
import sys
from urllib.parse import unquote, urldefrag

import pytest
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup

from rnc.show.matrix import FACTORS
from rnc.study import store
from rnc.study.claims import CLAIMS, SIGNS, judge
from rnc.study.records import by_scale, whole

from .conftest import BOOK

GENERATED = {"genindex.html", "py-modindex.html", "index.html"}  # the last only sends on
PAGES = sorted(
    str(path.relative_to(BOOK))
    for path in BOOK.rglob("*.html")
    if "_static" not in path.parts and path.name not in GENERATED
)
every_page = pytest.mark.parametrize("page", PAGES)
LIGHT = 1_500_000  # bytes of a page and its own pictures


def soup(page):
    return BeautifulSoup((BOOK / page).read_text(), "html.parser")


def serious(tab):
    """Barriers for readers, as axe finds them."""
    found = Axe().run(tab).response["violations"]
    return {
        v["id"]: [node["html"][:150] for node in v["nodes"]]
        for v in found
        if v["impact"] in ("serious", "critical")
    }


def test_there_is_a_book():
    assert {"book/intro.html", "notebooks/03_attacks.html", "404.html"} <= set(PAGES)


@every_page
def test_a_page_is_complete_open_to_all_and_fits_a_phone(visit, page):
    """From file://: no complaint, nothing from elsewhere, no serious barrier in either theme."""
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)"
    for scheme in ("light", "dark"):
        tab = visit(page, color_scheme=scheme)
        assert tab.evaluate("document.documentElement.dataset.theme") == scheme
        assert tab.evaluate(broken) == []
        assert tab.complaints == []
        assert tab.outside == []
        assert serious(tab) == {}, scheme
    tab = visit(page, width=390)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390


@functools.cache
def anchors(path):
    """What links into a page can lead to."""
    there = BeautifulSoup(path.read_text(), "html.parser")
    return {element["id"] for element in there.find_all(id=True)}


@every_page
def test_every_link_within_the_book_leads_somewhere(page):
    for link in soup(page).find_all("a", href=True):
        target, anchor = urldefrag(link["href"])
        if ":" in target.split("/")[0]:
            continue  # to the world outside; make links asks it
        path = (BOOK / page).parent / unquote(target) if target else BOOK / page
        assert path.exists(), link["href"]
        if anchor and path.suffix == ".html":
            assert unquote(anchor) in anchors(path), link["href"]


@every_page
def test_a_page_is_light(page):
    pictures = {(BOOK / page).parent / image["src"] for image in soup(page).find_all("img")}
    total = sum(path.stat().st_size for path in {BOOK / page, *pictures})
    assert total <= LIGHT


@every_page
def test_a_page_says_what_it_is(page):
    head = soup(page).head
    assert len(head.title.text.strip()) > 5
    assert head.find("link", rel="icon") or head.find("link", rel="shortcut icon")
    if "/" in page:
        assert len(head.find("meta", attrs={"name": "description"})["content"]) > 20


def test_real_images_are_real_whatever_the_scale_of_the_book():
    captions = soup("notebooks/07_cifar10.html").find_all("figcaption")
    assert len(captions) >= 4
    assert all("CIFAR-10" in caption.text for caption in captions)


def test_every_picture_is_described():
    for page in PAGES:
        for image in soup(page).find_all("img"):
            assert len(image.get("alt", "")) > 5, (page, image["src"])


def dots(tab):
    """Where the points of each panel of the 3-D figure are, and in which colour."""
    return tab.evaluate(
        "[...document.querySelectorAll('#simplex svg')].map(svg => "
        "[...svg.querySelectorAll('circle')].map(c => c.outerHTML).sort().join())"
    )


@pytest.mark.parametrize("page", ["book/intro.html", "notebooks/03_attacks.html"])
def test_the_simplex_moves_with_its_slider_and_turns_by_keys_and_pointer(visit, page):
    tab = visit(page)
    slider = tab.locator("#simplex input[type=range]")
    slider.focus()
    slider.press("Home")
    tab.wait_for_timeout(600)
    clean = dots(tab)
    slider.press("End")
    tab.wait_for_timeout(600)
    attacked = dots(tab)
    assert all(a != b for a, b in zip(clean, attacked, strict=True))
    assert "of these points stay" in tab.locator("#simplex figcaption").first.inner_text()
    tab.locator("#simplex svg").first.press("ArrowLeft")
    turned = dots(tab)
    assert all(a != b for a, b in zip(turned, attacked, strict=True))  # panels turn together
    box = tab.locator("#simplex svg").first.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] / 2 + 60, box["y"] + box["height"] / 2)
    tab.mouse.up()
    assert dots(tab) != turned
    tab.locator("#simplex button[name=again]").click()
    slider.press("End")
    tab.mouse.move(0, 0)  # the page may have scrolled a figure below the pointer
    tab.wait_for_timeout(1200)
    assert dots(tab) == attacked


def test_the_simplex_lets_the_page_scroll_and_keeps_its_points_in_sight(visit):
    tab = visit("book/intro.html")
    svg = tab.locator("#simplex svg").first
    svg.scroll_into_view_if_needed()
    before = tab.evaluate("window.scrollY")
    box = svg.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.mouse.wheel(0, 200)
    tab.wait_for_timeout(600)
    assert tab.evaluate("window.scrollY") > before
    assert svg.evaluate("one => getComputedStyle(one).touchAction") == "pan-y"
    tab.locator("#simplex input[type=range]").press("End")
    tab.wait_for_timeout(600)
    outside = tab.evaluate(
        "(() => { const box = document.querySelector('#simplex').getBoundingClientRect();"
        "return [...document.querySelectorAll('#simplex svg circle, #simplex svg text')]"
        ".map(shape => shape.getBoundingClientRect())"
        ".filter(r => r.left < box.left || r.right > box.right || r.top < box.top).length; })()"
    )
    assert outside == 0


def shown(tab):
    """What a reader hears of the image that is chosen."""
    return tab.locator("#simplex .rnc-heard").inner_text()


def middle(tab, dot):
    box = tab.locator("#simplex svg").first.locator("circle:not(.under, .ring)").nth(dot)
    box = box.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def moving(tab, panel=0):
    """The way of the chosen image in a panel; None if it is not drawn there."""
    arc = tab.locator("#simplex svg").nth(panel).locator(".arc")
    return arc.get_attribute("d") if arc.count() else None


with_images = pytest.mark.parametrize("page", ["book/intro.html", "notebooks/03_attacks.html"])


@with_images
def test_a_dot_shows_its_image_while_it_is_pointed_at_and_a_click_keeps_it(visit, page):
    tab = visit(page)
    tab.locator("#simplex svg").first.scroll_into_view_if_needed()
    first, way = shown(tab), moving(tab)
    assert first.startswith("ST: true class ")
    assert way
    texts, dot = set(), 0
    while len(texts - {first}) < 2:  # dots of other classes, wherever they are
        tab.mouse.move(*middle(tab, dot))
        texts.add(shown(tab))
        dot += 20
    assert moving(tab) != way
    tab.mouse.move(2, 2)
    assert (shown(tab), moving(tab)) == (first, way)
    tab.mouse.click(*middle(tab, dot - 20))
    tab.mouse.move(2, 2)
    assert moving(tab) != way
    tab.locator("#simplex button[name=again]").click()
    assert (shown(tab), moving(tab)) == (first, way)


@with_images
def test_images_are_found_by_keys_and_buttons_and_the_arc_goes_where_the_point_is(visit, page):
    tab = visit(page, reduced_motion="reduce")
    svg, first = tab.locator("#simplex svg").first, moving(tab)
    svg.focus()
    before = dots(tab)
    svg.press("Shift+ArrowRight")
    second = moving(tab)
    assert second != first
    svg.press("Shift+ArrowLeft")
    assert (moving(tab), dots(tab)) == (first, before)  # nothing has turned
    tab.locator("#simplex button[name=next]").click()
    assert moving(tab) == second
    tab.locator("#simplex button[name=previous]").click()
    assert moving(tab) == first
    slider = tab.locator("#simplex input[type=range]")
    slider.focus()
    slider.press("Home")
    clean = moving(tab).split("Q")
    assert clean[0][1:] == clean[1].split(" ", 2)[2]  # at no radius it is where it begins
    slider.press("End")
    assert moving(tab).split("Q")[1] != clean[1]
    assert "at ε = 16/255 taken for" in shown(tab)
    assert "at ε = 16/255 taken for" in tab.locator("#simplex figure > p").first.inner_text()


@with_images
def test_every_image_is_another_place_of_the_sheets_in_each_panel_that_draws_it(visit, page):
    tab = visit(page, reduced_motion="reduce")
    places = (
        "[...document.querySelectorAll('#simplex figure')].map(figure => "
        "[...new Set([...figure.querySelectorAll('.rnc-strip span')].map(e => "
        "getComputedStyle(figure.querySelector('.rnc-strip')).visibility === 'visible' && "
        "e.style.backgroundPosition))])"
    )
    seen = []
    for _ in range(200):
        tab.locator("#simplex button[name=next]").click()
        each = tab.evaluate(places)
        assert all(len(of) == 1 for of in each)  # clean, added and attacked are of one point
        panels = range(len(each))
        assert [of[0] is not False for of in each] == [bool(moving(tab, n)) for n in panels]
        seen.append(tuple(of[0] for of in each))
    assert len(set(seen)) == 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
@with_images
def test_on_a_phone_a_tap_shows_images_below_the_figure(visit, page, scheme):
    tab = visit(page, width=390, color_scheme=scheme, has_touch=True, is_mobile=True)
    svg = tab.locator("#simplex svg").first
    svg.scroll_into_view_if_needed()
    way, dot = moving(tab), 0
    while moving(tab) == way:
        tab.touchscreen.tap(*middle(tab, dot))
        dot += 20
    strip = tab.locator("#simplex .rnc-strip").first
    edge = svg.bounding_box()
    for image in strip.locator("span").all():
        box = image.bounding_box()
        assert box["width"] >= 96
        assert box["y"] >= edge["y"] + edge["height"] - 1  # it covers no point
        assert box["x"] + box["width"] <= 390
        assert image.evaluate("e => getComputedStyle(e).imageRendering") == "pixelated"
        assert image.evaluate("e => getComputedStyle(e).backgroundImage").startswith('url("data:')
    assert len({image.bounding_box()["y"] for image in strip.locator("span").all()}) == 1
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert tab.complaints == []
    assert tab.outside == []
    assert serious(tab) == {}


def test_without_javascript_and_in_print_there_is_a_picture(visit):
    tab = visit("book/intro.html", java_script_enabled=False)
    assert tab.locator("figure.rnc-static").is_visible()
    tab = visit("book/intro.html")
    assert not tab.locator("figure.rnc-static").is_visible()
    tab.emulate_media(media="print")
    assert tab.locator("figure.rnc-static").is_visible()
    assert not tab.locator(".rnc-touch").is_visible()


CLAIMS_PAGE = "notebooks/08_claims.html"
SHOWN = "#matrix details:visible"


def signs(tab):
    """Of the matrix, by claim and letter of the scale."""
    return tab.evaluate(
        "Object.fromEntries([...document.querySelectorAll('#matrix details')].map(row => [row.id,"
        "Object.fromEntries([...row.querySelectorAll('summary [data-scale]')].map(cell => "
        "[cell.dataset.scale, cell.textContent.match(/[✓◐✗○–]/)[0]]))]))"
    )


def test_the_matrix_is_seen_at_one_look_and_opens_by_keys(visit):
    tab = visit(CLAIMS_PAGE, width=1280)
    assert tab.locator("#matrix").bounding_box()["height"] <= 1600
    assert tab.locator(SHOWN).count() == len(CLAIMS)
    summary, chart = tab.locator("#C4 summary"), tab.locator("#C4 svg").first
    assert not chart.is_visible()
    summary.focus()
    summary.press("Enter")
    assert chart.is_visible()
    summary.press("Space")
    assert not chart.is_visible()
    for target in tab.locator("#matrix summary, #matrix form label").all():
        assert target.bounding_box()["height"] >= 44


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_opened_matrix_is_open_to_all_and_fits_a_phone(visit, scheme):
    tab = visit(CLAIMS_PAGE, width=390, color_scheme=scheme)
    assert tab.locator("#matrix").bounding_box()["height"] <= 1600
    tab.evaluate("document.querySelectorAll('#matrix details').forEach(row => row.open = true)")
    assert tab.locator("#C13 svg").last.is_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert serious(tab) == {}
    beyond = tab.evaluate(
        "[...document.querySelectorAll('#matrix svg')].flatMap(svg => {"
        "const end = svg.getBoundingClientRect().right + 1;"
        "return [...svg.querySelectorAll('text')].map(text => [text.textContent,"
        "text.getBoundingClientRect().right]).filter(([, right]) => right > end); })"
    )
    assert beyond == []


def test_other_bounds_give_the_answers_of_the_verdicts(visit):
    tab = visit(CLAIMS_PAGE)
    legend = tab.locator("#matrix > p").last.inner_text()
    published = whole(by_scale(store.published_records()))
    judged = {
        line[0]: judge(published[line[3:-1]])
        for line in legend.splitlines()
        if line[3:-1] in published
    }
    assert len(judged) >= 3
    at = tab.locator("#matrix input[type=range]")
    chosen = FACTORS.index(1)
    assert at.input_value() == str(chosen)
    at.focus()
    at.press("Home")
    for factor in FACTORS:
        shown = signs(tab)
        for letter, verdicts in judged.items():
            for verdict in verdicts:
                answer = verdict.answer(float(factor))
                assert shown[verdict.claim.id][letter] == SIGNS[answer], (factor, verdict)
                cell = tab.locator(f"#{verdict.claim.id} summary [data-scale={letter}]")
                assert f"{letter}: {answer}, " in cell.get_attribute("aria-label")
        at.press("ArrowRight")
    assert at.input_value() == str(len(FACTORS) - 1)
    assert tab.locator("#matrix output").inner_text() == "4 times as far"


def test_another_bound_moves_the_mark_and_the_zone_of_a_chart(visit):
    tab = visit(CLAIMS_PAGE)
    tab.locator("#C1 summary").click()
    chart, at = tab.locator("#C1 figure").first, tab.locator("#matrix input[type=range]")
    marks = lambda: (  # noqa: E731
        float(chart.locator("figcaption b").inner_text()),
        float(chart.locator(".bound").get_attribute("x")),
        float(chart.locator("g path").first.get_attribute("d").split("H")[1]),
    )
    before = marks()
    at.press("Home")
    after = marks()
    assert after[0] == pytest.approx(before[0] / 4)
    assert after[1] < before[1]
    assert after[2] == pytest.approx(after[1] + 1)
    for _ in FACTORS[:-5]:
        at.press("ArrowRight")
    assert marks() == before


def test_the_matrix_shows_one_scale_or_only_what_does_not_simply_hold(visit):
    tab = visit(CLAIMS_PAGE)
    before = signs(tab)
    everywhere = [claim for claim, row in before.items() if set(row.values()) == {"✓"}]
    only = tab.locator("#matrix input[type=checkbox]")
    only.check()
    assert tab.locator(SHOWN).count() == len(before) - len(everywhere)
    last = sorted(before["C1"])[-1]
    tab.locator("#matrix select").select_option(last)
    holding = [claim for claim, row in before.items() if row[last] == "✓"]
    assert 0 < len(holding) < len(before)
    assert tab.locator(SHOWN).count() == len(before) - len(holding)
    assert not tab.locator(f"#{holding[0]}").is_visible()
    assert {
        cell.inner_text() for cell in tab.locator(".rnc-heads > [data-scale]:visible").all()
    } == {last}
    assert (
        f"{len(holding)} of {len(before)} claims hold at {last}"
        in tab.locator("#matrix form p").inner_text()
    )
    row = tab.locator("#matrix details:visible").first
    row.locator("summary").click()
    assert row.locator("figure").first.locator("g[transform]:visible").count() == 1
    only.uncheck()
    tab.locator("#matrix select").select_option("")
    assert tab.locator(SHOWN).count() == len(before)


def test_the_matrix_is_whole_without_javascript_and_in_print(visit):
    tab = visit(CLAIMS_PAGE, java_script_enabled=False)
    assert not tab.locator("#matrix form").is_visible()
    assert tab.locator(SHOWN).count() == len(CLAIMS)
    tab.locator("#C7 summary").click()
    assert tab.locator("#C7 svg").last.is_visible()
    tab = visit(CLAIMS_PAGE)
    assert not tab.locator("#C7 svg").last.is_visible()
    tab.emulate_media(media="print")
    assert tab.locator("#C7 svg").last.is_visible()
    assert not tab.locator("#matrix form").is_visible()


def test_search_finds_a_term(visit):
    tab = visit("search.html?q=equiangularity")
    tab.wait_for_selector("#search-results li a")
    assert tab.locator("#search-results li a").count() >= 2


def test_code_unfolds(visit):
    tab = visit("notebooks/03_attacks.html")
    code = tab.locator("details.hide .highlight").first
    assert not code.is_visible()
    tab.locator("details.hide summary").first.click()
    assert code.is_visible()
    assert "preset" in code.inner_text()


def test_a_reader_can_go_on_download_and_choose_the_dark(visit):
    tab = visit("notebooks/03_attacks.html")
    assert "book/attack" in tab.locator("a.right-next").get_attribute("href")
    assert "02_standard" in tab.locator("a.left-prev").get_attribute("href")
    assert tab.locator("a[href$='03_attacks.ipynb']").count() >= 1
    theme = tab.evaluate("document.documentElement.dataset.theme")
    for _ in range(3):
        tab.locator("button.theme-switch-button").first.click()
        if tab.evaluate("document.documentElement.dataset.theme") != theme:
            return
    pytest.fail("the theme did not change")


def test_the_book_prints_with_every_picture(browser):
    built = BOOK.parent
    # by itself, since this process has a browser already
    subprocess.run([sys.executable, "-m", "rnc", "pdf"], cwd=built.parent, check=True)
    assert (built / "book.pdf").read_bytes().startswith(b"%PDF")
    page = (built / "singlehtml" / "whole.html").read_text(encoding="utf-8")
    pictures = re.findall(r'<img[^>]*src="([^":]+)"', page)
    assert len(pictures) > 15
    assert [src for src in pictures if not (built / "singlehtml" / src).is_file()] == []
