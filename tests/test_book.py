"""How pages are made: captions, the address of the repository, and the 3-D figure."""

import copy
import json
import math
import re

import jupytext
import pytest
import yaml
from bs4 import BeautifulSoup

from rnc.show import book, explorer
from rnc.study.record import Record
from rnc.study.settings import Study
from rnc.study.store import published_records

CONFIG = (book.ROOT / "_config.yml").read_text()


def test_buttons_appear_with_the_address_of_the_repository():
    without = yaml.safe_load(book.configured(CONFIG))
    assert without["html"]["use_edit_page_button"] is False
    assert "launch_buttons" not in without
    address = CONFIG.replace('url: ""', "url: https://github.com/somebody/collapse/")
    assert address != CONFIG
    changed = yaml.safe_load(book.configured(address))
    for button in ("use_issues_button", "use_repository_button", "use_edit_page_button"):
        assert changed["html"][button] is True
    assert set(changed["launch_buttons"]) == {"colab_url", "binderhub_url"}
    assert changed["html"]["baseurl"] == "https://somebody.github.io/collapse/"
    assert changed["sphinx"]["config"]["notfound_urls_prefix"] == "/collapse/"


@pytest.mark.parametrize(
    ("chapter", "injected", "said"),
    [
        ("02_standard_training", "", "Preset quick: digits; VGG11 of width 8; 130 epochs"),
        (
            "03_attacks",
            'preset = "paper"\nepochs = 100',
            "measured on 1000 points per class; seed 1. Differs from the paper in epochs",
        ),
        (
            "07_cifar10",
            "",
            "CIFAR-10, 100 images per class; VGG11 of width 16; 80 epochs (640 updates)",
        ),
        ("07_cifar10", "", "Differs from the paper in number of images, width, epochs"),
        ("10_your_network", "", "digits; PGD-10, ℓ∞ ε = 8/255, α = 2/255."),
    ],
)
def test_captions_name_their_setting(chapter, injected, said):
    notebook = jupytext.read(book.NOTEBOOKS / f"{chapter}.md")
    if injected:
        number = next(
            i for i, c in enumerate(notebook.cells) if "parameters" in c.metadata.get("tags", [])
        )
        added = notebook.cells[number].copy()
        added.update(source=injected, metadata={"tags": ["injected-parameters"]})
        notebook.cells.insert(number + 1, added)
    figure = next(cell for cell in notebook.cells if "figure" in cell.metadata.get("mystnb", {}))
    assert said in book.settings_of(notebook)(figure)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "fig-cifar-st",
            "seeds 1, 2, 3. Differs from the paper in number of images, width, epochs and",
        ),
        ("fig-cifar-simplex", "; seed 1. Differs from the paper in"),
        ("fig-cifar-robust", "seeds 1, 2, 3. Differs"),
    ],
)
def test_captions_speak_of_what_the_figure_shows(name, said):
    notebook = jupytext.read(book.NOTEBOOKS / "07_cifar10.md")
    figure = next(
        cell
        for cell in notebook.cells
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == name
    )
    caption = book.settings_of(notebook)(figure)
    assert said in caption
    # ST has no attack in training
    assert ("training attack" in caption) == (name != "fig-cifar-st")


def test_a_chapter_with_a_scale_of_its_own_keeps_it():
    """The book at another scale or radius still shows CIFAR-10 under Real images."""
    for given in ({"preset": "quick"}, {"preset": "paper", "epochs": 100}, {"eps": 4}):
        assert book._given(book.NOTEBOOKS / "07_cifar10.ipynb", given) == {}
        assert book._given(book.NOTEBOOKS / "03_attacks.ipynb", given) == given
    assert book._given(book.NOTEBOOKS / "03_attacks.ipynb", {"seeds": "1,2"}) == {}


def test_links_to_terms_say_what_they_mean():
    glossary = (
        '<dl class="simple glossary"><dt id="term-8-255">8/255</dt><dd><p>A radius, \n"usual". '
        'In pixels.</p></dd><dt id="term-PGD">PGD</dt><dd><p>The attack.</p></dd></dl>'
    )
    link = '<a class="reference internal" href="../book/notation.html#term-{}"><span>x</span></a>'
    page = link.format("8-255") + link.format("PGD") + '<a href="#elsewhere">y</a>'
    first, second, last = BeautifulSoup(book.defined(page, glossary), "html.parser")("a")
    assert first["data-definition"] == first["aria-description"] == 'A radius, "usual".'
    assert second["data-definition"] == "The attack."
    assert last.attrs == {"href": "#elsewhere"}


def test_every_figure_is_referred_to():
    """A figure that no sentence mentions is a figure too many."""
    texts = [path.read_text() for path in book.NOTEBOOKS.glob("*.md")]
    names = re.findall(r"^    name: (fig-\S+)$", "\n".join(texts), re.M)
    assert len(names) == len(set(names)) > 15
    assert [name for name in names if not any(f"{{numref}}`{name}`" in t for t in texts)] == []


def test_the_workflow_calls_targets_that_there_are():
    workflow = yaml.safe_load((book.ROOT / ".github/workflows/book.yml").read_text())
    makefile = (book.ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^(\w+):", makefile, re.M))
    runs = [
        step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step
    ]
    called = set(re.findall(r"\bmake (\w+)", "\n".join(runs)))
    assert called >= {"lint", "test", "check", "links", "pdf"}
    assert called <= targets


@pytest.fixture
def record():
    """What the 3-D figure needs of a record: two points of each of four classes."""
    vertices = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]]
    points = [vertex for vertex in vertices for _ in range(2)]
    drawing = {
        "classes": [0, 2, 3, 5],
        "vertices": vertices,
        "true": [0, 0, 2, 2, 3, 3, 5, 5],
        "points": [points, points[2:] + points[:2]],
        "predicted": [[0, 0, 2, 2, 3, 3, 5, 5], [2, 2, 3, 3, 5, 5, 0, 0]],
        "predicted_means": [vertices, [*vertices[:3], [None, None, None]]],
    }
    measured = {"sweep": {"values": {"eps": [0, 8], "drawing": drawing}}}
    study = Study.of()
    return Record(study.training("st"), study.evaluation, {"classes": list("abcdef")}, measured)


def touched(html):
    return json.loads(re.search(r"data = (\{.*\});", html)[1])


def test_the_simplex_that_can_be_touched_holds_every_radius_and_method(record):
    html = explorer.simplex({"ST": [record], "AT": [record]}, eps=8).html
    data = touched(html)
    assert data["radii"] == [0, 8]
    assert [panel["title"] for panel in data["panels"]] == ["ST", "AT"]
    assert data["panels"][0]["points"] == record.drawing["points"]
    assert 'max="1" step="1" value="1"' in html  # at the radius that was asked for
    assert html.count("<svg") == 2
    assert "://" not in html


def with_thumbnails(record, points):
    """The record with sheets of eight images of 4 x 6 pixels."""
    record = copy.deepcopy(record)
    sheets = {"clean": "Yw==", "perturbation": "cA==", "attacked": "YQ=="}
    values = {"points": points, "eps": 8.0, "size": [4, 6], "columns": 20} | sheets
    record.measured["thumbnails"] = {"values": values}
    return record


def test_points_show_their_images_where_the_record_has_them(record):
    bare = explorer.simplex({"ST": [record]}).html
    assert touched(bare)["panels"][0]["images"] is None
    assert "rnc-strip" not in bare.split("<script>")[0]
    assert "next image" not in bare
    other = with_thumbnails(record, list(range(8)))
    html = explorer.simplex({"ST": [record], "AT": [other]}).html
    data = touched(html)
    assert [panel["images"] is None for panel in data["panels"]] == [True, False]
    images = data["panels"][1]["images"]
    assert images["side"] == [96, 64]  # a whole multiple
    assert data["radii"].index(images["eps"]) == 1
    assert images["clean"] == "Yw=="
    assert html.count('<div class="rnc-strip">') == 1
    assert "6 × 4 pixels" in html


def test_the_hero_is_the_first_seed_with_images_or_the_studys_own(record, monkeypatch):
    kept = {2: ["ST", "AT"], 3: ["ST", "AT"], 1: ["ST"]}
    asked = []

    def available(study, *titles, extra):
        assert (study.base.dataset, study.base.epochs, extra) == ("cifar10", 400, ("thumbnails",))
        return dict.fromkeys(kept.get(study.seeds[0], []), study.seeds)

    def own(study, *titles, extra):
        asked.append((study.preset, study.seeds, titles, extra))
        return "own"

    monkeypatch.setattr(book, "available", available)
    monkeypatch.setattr(book, "records", own)
    assert book._hero(Study.of()) == {"ST": (2,), "AT": (2,)}
    kept.clear()
    assert book._hero(Study.of(seeds="4,5")) == "own"
    assert book._hero(Study.of("cifar10-small", seed=1)) == "own"
    titles = ("ST", "AT")
    assert asked == [
        ("quick", (4,), titles, ("thumbnails",)),
        ("cifar10-small", (1,), titles, ()),  # as they are recorded: nothing is trained for it
    ]


def test_the_committed_images_are_those_of_the_drawing(monkeypatch):
    """Found on any machine, an attack is that of the sweep if the labels it ends in are."""
    monkeypatch.delenv("RNC_RECORDS", raising=False)
    pictured = [r for r in published_records() if "thumbnails" in r.measured]
    assert len(pictured) >= 2
    for one in pictured:
        kept = one["thumbnails"]
        assert kept["predicted"] == one.drawing["predicted"][one.radii.index(kept["eps"])]
        assert len(kept["points"]) == len(one.drawing["true"])
        sheets = ("clean", "perturbation", "attacked")
        assert sum(len(kept[name]) for name in sheets) < 400_000
        assert "uncommitted" not in one.measured["thumbnails"]["environment"]["commit"]


def test_nothing_is_outside_of_the_simplex_and_a_class_has_one_colour(record):
    other = copy.deepcopy(record)
    drawing = other.measured["sweep"]["values"]["drawing"]
    drawing["classes"] = [0, 2, 3, 4]
    drawing["points"] = [[[3 * x for x in point] for point in f] for f in drawing["points"]]
    data = touched(explorer.simplex({"ST": [record], "AT": [other]}).html)
    points = [p for panel in data["panels"] for frame in panel["points"] for p in frame]
    assert data["reach"] > max(math.hypot(*point) for point in points)
    colours = [dict(zip(p["classes"], p["colours"], strict=True)) for p in data["panels"]]
    assert all(colours[0][c] == colours[1][c] for c in (0, 2, 3))
    assert len({*colours[0].values(), colours[1][4]}) == 5


def test_the_table_of_contents_has_every_notebook_once():
    """A chapter is its text and its line there; nothing else lists it."""
    assert sorted(book.chapters()) == sorted(book.NOTEBOOKS.glob("*.ipynb"))


def test_a_chapter_that_fails_stops_the_others(monkeypatch, tmp_path):
    begun = []

    def execute(path, parameters):
        begun.append(path)
        raise ValueError(path.stem)

    monkeypatch.setattr(book, "SOURCE", tmp_path / "source")
    monkeypatch.setattr(book, "_draw_hero", lambda *arguments: None)
    monkeypatch.setattr(book, "_fragments", lambda study: {})
    monkeypatch.setattr(book, "_playground", lambda folder: {})
    monkeypatch.setattr(book, "_journey", dict)
    monkeypatch.setattr(book, "_execute", execute)
    with pytest.raises(ValueError, match="0"):
        book.render(Study.of(), {})
    assert len(begun) < len(book.chapters())


def test_the_readme_says_what_the_committed_records_say(monkeypatch):
    monkeypatch.delenv("RNC_RECORDS", raising=False)
    readme = (book.ROOT / "README.md").read_text(encoding="utf-8")
    assert book.with_findings(readme) == readme
    assert "NC1/(K−1)" in readme
