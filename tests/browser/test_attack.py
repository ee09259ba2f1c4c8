"""The page on which readers attack: its PGD is that of `rnc.pgd`, and it is told to everyone."""

import pytest
import torch
from test_playground import content, restored
from torch.nn import functional as F

import rnc

from .conftest import BOOK

PAGE = "book/attack.html"
ENDED = "document.querySelector('.rnc-says').textContent.includes('step {0} of {0}')"


@pytest.fixture(scope="module")
def given():
    return content((BOOK / "_static" / "networks.js").read_text())


@pytest.mark.parametrize("title", ["ST", "AT"])
@pytest.mark.parametrize("eps", [2, 8])
def test_the_page_attacks_as_the_library_does(visit, given, title, eps):
    tab, network = visit(PAGE), restored(given["networks"][title])
    for image in given["images"][::3]:
        x = torch.tensor(image["pixels"]).view(1, 1, 16, 16).expand(1, 3, 16, 16)
        y, size = torch.tensor([image["label"]]), {"eps": eps / 255, "alpha": eps / 4 / 255}
        attacked = rnc.pgd(network, x, y, **size, steps=10, random_start=False)
        pixels = x[0].permute(1, 2, 0).flatten().tolist()
        arguments = [title, pixels, image["label"], *size.values(), 10]
        found = tab.evaluate("a => window.rncPlayground.pgd(...a)", arguments)
        theirs = torch.tensor(found["attacked"]).view(16, 16, 3).permute(2, 0, 1)[None]
        with torch.no_grad():
            logits = network(torch.cat([x, attacked]))
        clean, after = torch.tensor(found["logits"])
        # both have the same float16 weights: clean logits differ by rounding alone
        torch.testing.assert_close(clean, logits[0], atol=1e-4, rtol=1e-4)
        assert (theirs - x).abs().max() <= eps / 255 + 1e-6
        assert (theirs - x).abs().max() >= 0.9 * eps / 255
        signs = (theirs - x).sign() == (attacked - x).sign()
        assert signs.float().mean() > 0.99
        assert after.argmax() == logits[1].argmax()
        assert (after - logits[1]).abs().max() < 0.01 * logits[1].abs().max()


def test_a_drawing_becomes_an_image_as_the_digits_did(visit, given):
    tab = visit(PAGE)
    cells = torch.rand(8, 8, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(cells[None, None], size=(16, 16), mode="bilinear")[0, 0]
    expected = 0.5 + given["contrast"] * (expected - 0.5)
    found = tab.evaluate("cells => window.rncPlayground.enlarged(cells)", cells.flatten().tolist())
    torch.testing.assert_close(torch.tensor(found), expected.flatten(), atol=1e-5, rtol=0)
    # a bar from top to bottom, wherever and however large it was drawn
    bar = [[[0.1, 0.1], [0.1, 0.3]]]
    cells = torch.tensor(tab.evaluate("s => window.rncPlayground.counted(s)", bar)).view(8, 8)
    assert cells[:, 3:5].min() > 0.4
    assert cells[:, :2].sum() + cells[:, 6:].sum() == 0


def run(tab, steps=10):
    tab.locator("#playground [name=run]").click()
    tab.wait_for_function(ENDED.format(steps))
    return tab.locator(".rnc-says").inner_text()


def test_a_reader_guesses_runs_and_sees_where_it_lands(visit, given):
    tab = visit(PAGE)
    guess = tab.locator("#playground [name=guess]").nth(8)
    guess.check()
    said = run(tab)
    assert "You guessed 8" in said
    assert ("Right guesses: 1 of 1" in said) == ("attacked image for 8" in said)
    assert guess.is_disabled()
    best = tab.locator("#playground td.best")
    assert best.count() == 2
    landed = tab.locator("#playground tbody tr", has=tab.locator("td.best:nth-child(2)"))
    assert f"attacked image for {landed.locator('th').inner_text()} " in said
    flown = tab.locator("#playground path.trail.attacked").get_attribute("d")
    assert flown.count(" ") == 11  # of the start and ten steps
    tab.locator("#playground [name=again]").click()
    assert not guess.is_disabled()
    assert not guess.is_checked()
    assert "step 0 of 10" in tab.locator("#playground [name=count]").inner_text()
    assert tab.complaints == []


def test_all_is_done_by_keyboard_and_without_motion(visit):
    tab = visit(PAGE, reduced_motion="reduce")
    tab.locator("#playground [name=network]").first.focus()
    tab.keyboard.press("ArrowDown")
    assert tab.locator("#playground [name=network]").nth(1).is_checked()
    tab.locator("#playground [name=eps]").focus()
    tab.keyboard.press("End")
    tab.locator("#playground [name=step]").focus()
    tab.keyboard.press("Enter")
    tab.wait_for_function("document.querySelector('.rnc-says').textContent.includes('step 1 of')")
    assert "ε = 16/255, step 1 of 10: AT" in tab.locator(".rnc-says").inner_text()
    tab.locator("#playground [name=image]").last.check()
    tab.locator(".rnc-paper canvas").focus()
    tab.keyboard.press(" ")
    for _ in range(9):
        tab.keyboard.press("ArrowDown")
    tab.keyboard.press(" ")
    assert "takes your drawing for" in tab.locator(".rnc-says").inner_text()


def test_a_digit_is_drawn_by_pointer_and_reset_stops_a_run(visit):
    tab = visit(PAGE, width=390, has_touch=True)
    tab.locator("#playground [name=image]").last.check()
    assert "blank" in tab.locator(".rnc-says").inner_text()
    sheet = tab.locator(".rnc-paper canvas")
    sheet.scroll_into_view_if_needed()
    box = sheet.bounding_box()
    tab.mouse.move(box["x"] + 90, box["y"] + 20)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 95, box["y"] + 170, steps=5)
    tab.mouse.up()
    assert "takes your drawing for" in tab.locator(".rnc-says").inner_text()
    tab.locator("#playground [name=run]").click()
    tab.locator("#playground [name=again]").click()
    tab.wait_for_timeout(600)
    assert "step 0 of 10" in tab.locator("#playground [name=count]").inner_text()
    small = tab.evaluate(
        "[...document.querySelectorAll('#playground :is(label, button)')].filter(e => "
        "e.offsetParent).map(e => e.getBoundingClientRect()).filter(b => b.height < 44 || "
        "b.width < 44).length"
    )
    assert small == 0


def test_only_this_page_loads_the_networks():
    loading = [
        page.name for page in BOOK.rglob("*.html") if "networks.js" in page.read_text("utf-8")
    ]
    assert loading == ["attack.html"]


def test_without_javascript_and_in_print_there_is_a_still(visit):
    tab = visit(PAGE, java_script_enabled=False)
    assert not tab.locator("#playground").is_visible()
    assert tab.locator("figure.rnc-static").is_visible()
    assert tab.locator("noscript p", has_text="needs JavaScript").is_visible()
    assert "takes the image for" in tab.locator("p.rnc-static").inner_text()
    tab = visit(PAGE)
    assert tab.locator("#playground").is_visible()
    assert not tab.locator("figure.rnc-static").is_visible()
    tab.emulate_media(media="print")
    assert tab.locator("figure.rnc-static").is_visible()
    assert not tab.locator("#playground").is_visible()
