"""From notebooks to the book: papermill runs them, jupyter-book renders them.

notebooks/*.md       what authors edit; jupytext's text twins
notebooks/*.ipynb    what readers run; with the outputs that tests compare, and no others
_build/source        what is rendered: executed notebooks and the pages of book/
_build/html          the book
"""

from __future__ import annotations

import ast
import base64
import functools
import io
import itertools
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from html import escape, unescape
from pathlib import Path
from urllib.parse import unquote

import jupytext
import nbformat
import papermill
import yaml
from bs4 import BeautifulSoup
from nbclient import NotebookClient
from PIL import Image
from playwright.sync_api import Error as BrowserError
from playwright.sync_api import sync_playwright

from rnc.errors import UserError
from rnc.neighbours import NEIGHBOURS
from rnc.show import explorer, plots, tables, vector
from rnc.show.journey import journey
from rnc.show.playground import Playground
from rnc.study import findings
from rnc.study.data import DATASETS
from rnc.study.folders import CHECKOUT as ROOT
from rnc.study.methods import METHODS
from rnc.study.records import Records, available, by_scale, records, scales, whole
from rnc.study.settings import Study
from rnc.study.store import published_records

NOTEBOOKS = ROOT / "notebooks"
SOURCE = ROOT / "_build" / "source"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHECKED = "nbval-check-output"
AT_A_TIME = 2
THUMBNAIL = (480, 300)  # pixels at most: twice as many as the page's, for sharp screens
# Kernels report that their connection within this machine is not encrypted, and that they end.
KERNEL_ARGUMENTS = ["--log-level=CRITICAL"]


def render(study: Study, parameters: dict) -> None:
    """Runs every notebook with some parameters and renders the book strictly.

    Args:
        study: what the parameters ask for.
        parameters: given to each notebook that declares them.
    """
    shutil.rmtree(SOURCE, ignore_errors=True)
    others = shutil.ignore_patterns("_static", "records", "scripts")
    shutil.copytree(ROOT / "book", SOURCE / "book", ignore=others)
    shutil.copytree(ROOT / "book" / "_static", SOURCE / "_static")
    _draw_hero(study, SOURCE / "_static")
    pages = _fragments(study) | _playground(SOURCE / "_static") | _journey()
    for name, fragment in pages.items():
        (SOURCE / "book" / name).write_text(fragment, encoding="utf-8")
    shutil.copy(ROOT / "_toc.yml", SOURCE)
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    (SOURCE / "_config.yml").write_text(configured(config), encoding="utf-8")
    (SOURCE / "notebooks").mkdir()
    notebooks = chapters()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        futures = {pool.submit(_execute, path, parameters): path for path in notebooks}
        try:
            for number, future in enumerate(as_completed(futures), start=1):
                future.result()
                print(f"notebook {number} of {len(notebooks)}: {futures[future].stem}", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # no other chapter is begun
            raise
    cards = [_card(SOURCE / "notebooks" / path.name) for path in notebooks]
    overview = tables.table("chapters.html", cards=cards).html
    (SOURCE / "book" / "chapters.html").write_text(overview, encoding="utf-8")
    print("rendering the book", flush=True)
    _jupyter_book("html")
    _finish(ROOT / "_build" / "html")
    print(f"\nThe book is ready: open {(ROOT / '_build' / 'html' / 'index.html').as_uri()}")


def _card(path: Path) -> dict[str, str | int]:
    """What the landing page shows of an executed chapter, with its first figure as a thumbnail."""
    notebook = nbformat.read(path, as_version=4)
    title = re.search(r"^# (.+)$", notebook.cells[0].source, re.M)[1]
    picture = next(
        output.data["image/png"]
        for cell in notebook.cells
        if "figure" in cell.metadata.get("mystnb", {})
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    )
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    # the beginning of a tall one, so that all cards are alike
    image = image.crop((0, 0, image.width, min(image.height, round(0.6 * image.width))))
    image.thumbnail(THUMBNAIL)
    place = SOURCE / "_static" / "chapters" / f"{path.stem}.webp"
    place.parent.mkdir(exist_ok=True)
    image.save(place, quality=80)
    size = {"width": image.width, "height": image.height}
    return {"name": path.stem, "title": title, **size}


def chapters() -> list[Path]:
    """The notebooks of the book, in the order of its table of contents."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [ROOT / f"{file}.ipynb" for file in files if file.startswith(f"{NOTEBOOKS.name}/")]


def pdf() -> None:
    """Prints the whole book, as it was last rendered, to _build/book.pdf."""
    if not SOURCE.exists():
        raise UserError("there is no book to print yet; make book makes it")
    _jupyter_book("singlehtml")
    single, place = ROOT / "_build" / "singlehtml", ROOT / "_build" / "book.pdf"
    # its links are those of a page at the top, but Sphinx writes it where the first page is
    whole = (single / "book" / "intro.html").replace(single / "whole.html")
    text = whole.read_text(encoding="utf-8").replace('"../_static/', '"_static/')
    whole.write_text(text, encoding="utf-8")
    _finish(single)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=find_browser(), args=["--no-sandbox"]
            )
            page = browser.new_page()
            page.goto(whole.as_uri(), timeout=0)
            page.evaluate("MathJax.startup.promise")  # equations take time
            page.pdf(path=place)
    except BrowserError as error:
        raise UserError(f"printing needs a browser, such as Chromium ({error})") from error
    print(f"\nThe book is printed: {place.as_uri()}")


def find_browser() -> str | None:
    """The path of the first of BROWSERS that is installed; None: playwright may have its own."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def _jupyter_book(builder: str) -> None:
    command = Path(sys.executable).with_name("jupyter-book")
    strict = ("--all", "-W", "-n", "--keep-going", "-q")
    subprocess.run(
        [command, "build", SOURCE, "--path-output", ROOT, "--builder", builder, *strict],
        check=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},  # of the tools, not of the book
    )


def defined(page: str, glossary: str) -> str:
    """A page whose links to terms of the glossary carry the first sentence of what these mean,
    which book.css shows beside a link that is pointed at or focused.

    Args:
        page, glossary: HTML.
    """
    meanings = _meanings(glossary)

    def explained(link: re.Match) -> str:
        meaning = escape(meanings[unquote(link[1])])
        return f'{link[0]} data-definition="{meaning}" aria-description="{meaning}"'

    return re.sub(r'<a class="reference internal" href="[^"]*#(term-[^"]+)"', explained, page)


@functools.cache  # of one glossary for all pages
def _meanings(glossary: str) -> dict[str, str]:
    """The first sentence of each entry, by the name of its place."""
    return {
        term["id"]: " ".join(term.find_next("dd").p.text.split()).split(". ")[0].rstrip(".") + "."
        for term in BeautifulSoup(glossary, "html.parser").select("dl.glossary dt[id]")
    }


def _finish(html: Path) -> None:
    """Puts the scripts into the rendered book and takes out of its pages what it does not use."""
    # After the rendering: jupyter-book would load every script of _static on every page.
    for script in (*(ROOT / "book" / "scripts").glob("*.js"), SOURCE / "book" / "networks.js"):
        shutil.copy(script, html / "_static")
    glossary = next(html.rglob("notation.html"), html / "whole.html").read_text("utf-8")
    for page in html.rglob("*.html"):
        text = defined(page.read_text(encoding="utf-8"), glossary)
        text = _with_figures(text, page.parent)
        # jupyter-book declares the constants of thebe, which is not used, twice: a script error
        text = re.sub(r"<script>const THEBE_JS_URL.*?</script>", "", text, flags=re.S)
        text = re.sub(r"<script[^>]*sphinx-thebe.js[^>]*></script>", "", text)
        # the theme does not name what unfolds the pages of a chapter
        toggle = '<summary><span class="toctree-toggle"'
        text = text.replace(toggle, toggle.replace(">", ' aria-label="Pages of this chapter">', 1))
        # docutils gives the bibliography a role whose children must have another one
        text = text.replace('role="list" class="citation-list"', 'class="citation-list"')
        # without an address of the book its pages lead to each other from where they are
        text = re.sub(r'(href|src)="/(?=(_static|book|notebooks)/|search|index)', r'\1="', text)
        page.write_text(text, encoding="utf-8")


def _with_figures(page: str, folder: Path) -> str:
    """A page with its figures as parts of it."""
    numbers = itertools.count(1)

    def part(image: re.Match) -> str:
        picture = (folder / image[1]).read_text(encoding="utf-8")
        description = unescape(re.search(r'alt="([^"]*)"', image[0])[1])
        return vector.inlined(picture, description, f"figure-{next(numbers)}")

    return re.sub(r'<img[^>]*src="([^"]*_images/[^"]+\.svg)"[^>]*>', part, page)


def configured(text: str) -> str:
    """The configuration, with what follows from the address of the repository if it is set."""
    config = yaml.safe_load(text)
    url = config["repository"]["url"].rstrip("/")
    shown = bool(url)
    buttons = ("use_issues_button", "use_repository_button", "use_edit_page_button")
    config["html"] |= dict.fromkeys(buttons, shown)
    if shown:
        owner, name = url.split("/")[-2:]
        config["html"]["baseurl"] = f"https://{owner}.github.io/{name}/"
        config["sphinx"]["config"]["ogp_site_url"] = config["html"]["baseurl"]
        config["sphinx"]["config"]["notfound_urls_prefix"] = f"/{name}/"
        config["launch_buttons"] = {
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
        }
    return yaml.safe_dump(config, allow_unicode=True)


def refresh() -> None:
    """Makes each notebook anew from its text twin, with the outputs that tests compare."""
    for path in chapters():
        text = path.with_suffix(".md")
        notebook = jupytext.read(text)
        notebook.metadata.pop("jupytext", None)
        executed = nbformat.from_dict(notebook.copy())
        NotebookClient(
            executed,
            resources={"metadata": {"path": str(NOTEBOOKS)}},
            extra_arguments=KERNEL_ARGUMENTS,
        ).execute()
        for number, (cell, ran) in enumerate(
            zip(notebook.cells, executed.cells, strict=True), start=1
        ):
            cell["id"] = f"cell-{number:02d}"  # stable, so that versions can be compared
            if cell.cell_type == "code" and CHECKED in cell.metadata.get("tags", []):
                cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
        nbformat.write(notebook, path)
        print(f"refreshed {path.stem}", flush=True)
    _draw_hero(Study.of(), ROOT / "book" / "_static")  # for the README
    readme = ROOT / "README.md"
    readme.write_text(with_findings(readme.read_text(encoding="utf-8")), encoding="utf-8")
    print("refreshed README")


def with_findings(readme: str) -> str:
    """The README with what the committed records say between its two marks."""
    lines = findings.overview(whole(by_scale(published_records()))).splitlines()
    block = "\n".join(
        line
        if line[:1] == "|"
        else textwrap.fill(line, 100, subsequent_indent="  " * (line[:1] == "-"))
        for line in lines
    )
    marks = r"(?<=<!-- findings: written by make notebooks -->\n).*?(?=<!-- end of findings -->)"
    return re.sub(marks, lambda _: f"{block}\n", readme, flags=re.S)


def _fragments(study: Study) -> dict[str, str]:
    """Parts of pages that are made from records: name of a file to HTML."""
    # what the page on claims measures beside its records: both show the same verdicts
    records(study, "AT", extra=study.in_seconds("ncc_attacked"))
    found = scales(study)
    defaults = [(neighbour, neighbour.settings()) for neighbour in NEIGHBOURS]
    judged = [(one, one.judge(one.measure(chosen), chosen.seeds)) for one, chosen in defaults]
    return {
        "glance.html": tables.glance(found).html,
        "neighbours.html": tables.neighbours(judged).html,
        "simplex.html": explorer.simplex(_hero(study)).html,
        "cost.html": tables.costs(found).html,
    }


def _playground(folder: Path) -> dict[str, str]:
    """The page on which readers attack: name of a file to its text. Its still goes to a folder.

    Its networks are those of the quick preset at every scale: others are too large for a page.
    """
    playground = Playground.of(Study.of())
    playground.still().savefig(folder / "attacked.png", dpi=110)
    return {"playground.html": playground.page().html, "networks.js": playground.script()}


def _journey() -> dict[str, str]:
    """The page that goes through a training: name of a file to its text.

    Its networks are those of the quick preset at every scale: of others no snapshots are kept.
    """
    study = Study.of().first_seed()
    (st,), (at,) = records(study, "ST", extra=["journey"])["ST"], records(study, "AT")["AT"]
    return {"journey.html": journey(st, at).html}


def _hero(study: Study) -> Records:
    """The networks on real images that were trained longest, of the first seed whose thumbnails
    are kept, or else the study's own."""
    real = Study.of("cifar10-small", epochs=400)
    for seed in real.seeds:
        found = available(replace(real, seeds=(seed,)), "ST", "AT", extra=("thumbnails",))
        if len(found) == 2:
            return found
    return records(study.first_seed(), "ST", "AT", extra=study.in_seconds("thumbnails"))


def _draw_hero(study: Study, folder: Path) -> None:
    figure = plots.simplex(_hero(study))
    figure.savefig(folder / "simplex.png", dpi=110)


def _execute(path: Path, parameters: dict) -> None:
    place = SOURCE / "notebooks" / path.name
    executed = papermill.execute_notebook(
        str(path),
        str(place),
        _given(path, parameters),
        progress_bar=False,
        cwd=str(NOTEBOOKS),
        extra_arguments=KERNEL_ARGUMENTS,
    )
    setting = settings_of(executed)
    for cell in executed.cells:
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags:
            tags.append("hide-cell")  # like the declared parameters above it
        if figure := cell.metadata.get("mystnb", {}).get("figure"):
            if "no-setting" not in tags:
                figure.caption += setting(cell)
            figure.caption += _data_link(figure.name, cell.outputs)
    nbformat.write(executed, place)


def _data_link(name: str, outputs: list[nbformat.NotebookNode]) -> str:
    """Keeps the data of a figure beside the pages, and says where."""
    for output in outputs:
        if text := output.get("data", {}).pop("text/csv", None):
            file = SOURCE / "data" / f"{name}.csv"
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
            return f" [Data (CSV)](../data/{file.name})"
    return ""


def _given(path: Path, parameters: dict) -> dict:
    """Those of the book's parameters that a notebook takes: none if it has a scale of its own."""
    declared = papermill.inspect_notebook(str(path))
    own = "preset" in declared and ast.literal_eval(declared["preset"]["default"])
    if own not in (False, Study.of().preset):
        return {}
    return {name: value for name, value in parameters.items() if name in declared}


def settings_of(notebook: nbformat.NotebookNode) -> Callable[[nbformat.NotebookNode], str]:
    """What the caption of a figure says of its setting, from the figure's cell: a few words that
    link to the methods, with the rest as their title.

    It is that of the methods which the cell names, or else of those that the notebook asks for,
    and where the cell is tagged so of the first seed alone.
    """
    parameters: dict = {}
    for cell in notebook.cells:
        if {"parameters", "injected-parameters"} & set(cell.metadata.get("tags", [])):
            exec(cell.source, parameters)
    if "norm" not in parameters and "preset" not in parameters:
        return lambda cell: ""
    study = Study.from_notebook(parameters)
    dataset = study.base.dataset
    if "model" not in parameters:  # a network of its own
        title = DATASETS[dataset].title if dataset in DATASETS else dataset
        return lambda cell: f"{title}; {study.evaluation}."
    names = {method.title: method.name for method in METHODS.values()}

    def named(source: str) -> list[str]:
        return [names[title] for title in re.findall(r'"([^"]+)"', source) if title in names]

    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    asked_for = named(re.search(r'rnc\.records\(study((?:, "[^"]+")*)', code)[1])

    def caption(cell: nbformat.NotebookNode) -> str:
        shown = study.first_seed() if "first-seed" in cell.metadata.get("tags", []) else study
        methods = named(cell.source) or asked_for
        # Sphinx drops the title of a link within the book
        link = f"[{shown.badge(*methods)}](../book/methods.md)"
        return f'<span class="rnc-setting" title="{shown.caption(*methods)}">{link}</span>'

    return caption
