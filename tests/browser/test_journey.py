"""The page that one scrolls: what is shown follows the reader, and is there without motion too."""

import pytest

from .conftest import BOOK
from .test_book import serious

PAGE = "book/journey.html"
STEPS = 8
PHONE = {"width": 390, "has_touch": True}
# scrolls until a step is read: beside the middle of the stage, or in that of what is below it
READ = """number => {
  const step = document.querySelectorAll(".rnc-steps section")[number].getBoundingClientRect();
  const stage = document.querySelector(".rnc-stage");
  const top = parseFloat(getComputedStyle(stage).top), bottom = top + stage.offsetHeight;
  const narrow = matchMedia("(max-width: 900px)").matches;
  const line = (narrow ? bottom + innerHeight : top + bottom) / 2;
  scrollBy({top: (step.top + step.bottom) / 2 - line, behavior: "instant"});
}"""
HEARD = "step => document.querySelector('.rnc-stage [aria-live]').textContent.startsWith(step)"
STILL = """async () => {
  const all = () => scrollY + document.querySelector(".rnc-space").innerHTML;
  const wait = async () => {
    for (let i = 0; i < 5; i++) await new Promise(requestAnimationFrame);
    await new Promise(done => setTimeout(done, 200));
  };
  let before;
  do { before = all(); await wait(); } while (before !== all());
}"""
BESIDE = """() => {
  const edge = document.documentElement.clientWidth;
  return [...document.querySelectorAll(".rnc-stage *, .rnc-steps *")]
    .filter(one => !one.closest(".visually-hidden"))
    .map(one => one.getBoundingClientRect()).filter(r => r.left < -1 || r.right > edge + 1).length;
}"""

CUT = """() => {
  const box = document.querySelector(".rnc-space").getBoundingClientRect();
  return [...document.querySelectorAll(".rnc-space :is(circle, text)")]
    .map(one => one.getBoundingClientRect())
    .filter(r => r.left < box.left - 2 || r.right > box.right + 2 ||
      r.top < box.top - 2 || r.bottom > box.bottom + 2).length;
}"""
CONTRAST = """() => {
  const linear = x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  const light = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(x => linear(x / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const page = light(getComputedStyle(document.querySelector(".rnc-stage")).backgroundColor);
  return Math.min(...[...document.querySelectorAll(".rnc-stage :is(text, tspan)")].map(one => {
    const own = light(getComputedStyle(one).fill);
    return Math.max(own, page) / Math.min(own, page);
  }));
}"""


def read(tab, number):
    tab.evaluate(READ, number)
    tab.wait_for_function(HEARD, arg=f"Step {number + 1} of")
    tab.evaluate(STILL)


def dots(tab):
    return tab.locator(".rnc-space").evaluate("one => one.innerHTML")


def when(tab):
    return tab.locator(".rnc-when").inner_text()


def said(tab):
    return tab.locator(".rnc-stage [aria-live]").text_content()


@pytest.mark.parametrize("options", [{"width": 1280}, PHONE])
def test_each_step_has_a_picture_of_its_own_from_the_first_epoch_to_the_attack_on_both(
    visit, options
):
    tab = visit(PAGE, **options)
    pictures, times = [], []
    for number in range(STEPS):
        read(tab, number)
        pictures.append(dots(tab))
        times.append(when(tab))
        assert said(tab).startswith(f"Step {number + 1} of {STEPS}, {times[-1]}. ST: ")
        assert tab.evaluate(BESIDE) == 0
    assert len(set(pictures)) == STEPS
    assert times[0] == "epoch 0 of 130"
    assert times[3] == "epoch 130 of 130"
    assert times[5] == times[7] == "ε = 8/255"
    assert times[6] == "ε = 0"
    assert pictures[0].count("<circle") == 200
    assert pictures[7].count("<circle") == 400
    assert "AT: " in said(tab)
    assert tab.complaints == []
    # and back
    read(tab, 0)
    assert dots(tab) == pictures[0]


def test_between_steps_points_are_between_their_places(visit):
    tab = visit(PAGE, width=1280)
    read(tab, 3)
    before = dots(tab)
    tab.evaluate("scrollBy(0, document.querySelector('.rnc-steps section').offsetHeight / 2)")
    tab.evaluate(STILL)
    between = dots(tab)
    read(tab, 4)
    assert len({before, between, dots(tab)}) == 3
    assert when(tab) == "ε = 2/255"


def test_charts_follow_with_a_mark_and_the_values_of_the_record(visit):
    tab = visit(PAGE, width=1280)
    marks = lambda: tab.locator(".rnc-measures circle").evaluate_all(  # noqa: E731
        "all => all.map(one => Number(one.getAttribute('cx')))"
    )
    read(tab, 0)
    first = marks()
    assert len(first) == 4
    read(tab, 3)
    assert all(a < b for a, b in zip(first, marks(), strict=True))
    text = tab.locator(".rnc-steps section").nth(3).inner_text()
    for value in tab.locator(".rnc-measures figcaption span span").all():
        assert value.inner_text() in text
    read(tab, 7)
    assert len(marks()) == 8
    assert "accuracy" in tab.locator(".rnc-measures").inner_text()


def test_the_stage_stays_in_sight_and_leaves_room_for_the_text(visit):
    for options in ({"width": 1280}, PHONE):
        tab = visit(PAGE, **options)
        for number in (0, 4, 7):
            read(tab, number)
            box = tab.locator(".rnc-stage").bounding_box()
            assert -1 <= box["y"] <= 60
            assert box["y"] + box["height"] <= 901
            if options is PHONE:
                assert box["height"] <= 0.45 * 900 + 1
                step = tab.locator(".rnc-steps section").nth(number).locator("p").bounding_box()
                assert step["y"] >= box["y"] + box["height"]
        assert tab.evaluate("document.documentElement.scrollWidth") <= options["width"]
        # the page goes on below
        tab.evaluate("scrollTo(0, document.body.scrollHeight)")
        tab.wait_for_timeout(500)
        assert tab.locator(".rnc-stage").bounding_box()["y"] < 0


def test_nothing_is_cut_off_in_the_stage(visit):
    tab = visit(PAGE, width=1280)
    for number in range(STEPS):
        read(tab, number)
        assert tab.evaluate(CUT) == 0, number


def test_steps_are_reached_by_keyboard_and_the_points_are_turned(visit):
    tab = visit(PAGE, width=1280)
    on, back = (
        tab.get_by_role("button", name="next step"),
        tab.get_by_role("button", name="previous step"),
    )
    read(tab, 0)
    assert back.get_attribute("aria-disabled") == "true"
    on.focus()
    for number in range(1, STEPS):
        tab.keyboard.press("Enter")
        tab.wait_for_function(HEARD, arg=f"Step {number + 1} of")
        tab.evaluate(STILL)
        assert tab.evaluate("document.activeElement.name") == "on"
    assert on.get_attribute("aria-disabled") == "true"
    tab.keyboard.press("Enter")
    back.focus()
    tab.keyboard.press("Space")
    tab.wait_for_function(HEARD, arg=f"Step {STEPS - 1} of")
    tab.evaluate(STILL)
    assert said(tab).startswith(f"Step {STEPS - 1} of")
    assert when(tab) == "ε = 0"
    before, place = dots(tab), tab.evaluate("scrollY")
    tab.locator(".rnc-space").focus()
    tab.keyboard.press("ArrowLeft")
    assert dots(tab) != before
    # up and down are for scrolling, also here
    tab.keyboard.press("ArrowDown")
    tab.wait_for_function("place => scrollY > place", arg=place)
    for button in (on, back):
        assert button.bounding_box()["height"] >= 44


def test_the_page_scrolls_with_the_pointer_on_the_points_which_it_turns(visit):
    tab = visit(PAGE, width=1280)
    read(tab, 1)
    box, before, place = (
        tab.locator(".rnc-space").bounding_box(),
        dots(tab),
        tab.evaluate("scrollY"),
    )
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] / 2 + 60, box["y"] + box["height"] / 2)
    tab.mouse.up()
    assert dots(tab) != before
    tab.mouse.wheel(0, 300)
    tab.wait_for_function("place => scrollY > place", arg=place)
    touch = "one => getComputedStyle(one).touchAction"
    assert tab.locator(".rnc-space").evaluate(touch) == "pan-y"


@pytest.mark.parametrize(
    "options",
    [{"reduced_motion": "reduce"}, {"java_script_enabled": False}, {"media": "print"}],
    ids=["reduced motion", "no script", "print"],
)
@pytest.mark.parametrize("width", [1280, 390])
def test_where_nothing_moves_there_are_stills(visit, options, width):
    media = options.get("media")
    tab = visit(PAGE, width, **({} if media else options))
    if media:
        tab.emulate_media(media=media)
    assert not tab.locator(".rnc-stage").is_visible()
    assert tab.locator(".rnc-stills figure:visible").count() == 6
    assert tab.locator(".rnc-steps section:visible").count() == STEPS
    captions = tab.locator(".rnc-stills figcaption").all_inner_texts()
    assert captions[0].startswith("ST before training")
    assert captions[-1].replace("\u00a0", " ").startswith("AT, attacked with ε = 8/255")
    for label in tab.locator(".rnc-stills text").all():
        assert label.is_visible()
    edge = tab.locator(".rnc-stills .edge").first
    assert edge.evaluate("one => getComputedStyle(one).stroke") != "none"
    if "java_script_enabled" not in options and not media:
        assert tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("number", [0, STEPS - 1])
def test_steps_are_open_to_all(visit, scheme, number):
    tab = visit(PAGE, width=1280, color_scheme=scheme)
    read(tab, number)
    assert serious(tab) == {}
    # words in figures, which axe does not look at
    assert tab.evaluate(CONTRAST) >= 4.5


def test_the_page_is_complete_and_light(visit):
    tab = visit(PAGE)
    assert tab.complaints == []
    assert tab.outside == []
    assert (BOOK / PAGE).stat().st_size <= 200_000
