"""From notebooks to the book: papermill runs them, jupyter-book renders them.

notebooks/*.md       what authors edit; jupytext's text twins
notebooks/*.ipynb    what readers run; with the outputs that tests compare, and no others
_build/source        what is rendered: executed notebooks and the pages of book/
_build/html          the book
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import jupytext
import nbformat
import papermill
from nbclient import NotebookClient

from rnc import plots, runs
from rnc.config import Study

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
SOURCE = ROOT / "_build" / "source"
CHECKED = "nbval-check-output"
AT_A_TIME = 2
# Kernels report that their connection within this machine is not encrypted, and that they end.
KERNEL_ARGUMENTS = ["--log-level=CRITICAL"]


def render(study: Study, parameters: dict) -> None:
    """Runs every notebook with some parameters and renders the book strictly.

    Args:
        study: what the parameters ask for.
        parameters: given to each notebook that declares them.
    """
    shutil.rmtree(SOURCE, ignore_errors=True)
    others = shutil.ignore_patterns("_static", "records")
    shutil.copytree(ROOT / "book", SOURCE / "book", ignore=others)
    shutil.copytree(ROOT / "book" / "_static", SOURCE / "_static")
    _draw_hero(study, SOURCE / "_static")
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, SOURCE)
    (SOURCE / "notebooks").mkdir()
    notebooks = sorted(NOTEBOOKS.glob("*.ipynb"))
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        futures = {pool.submit(_execute, path, parameters): path for path in notebooks}
        for number, future in enumerate(as_completed(futures), start=1):
            future.result()
            print(f"notebook {number} of {len(notebooks)}: {futures[future].stem}", flush=True)
    print("rendering the book", flush=True)
    subprocess.run(
        [
            Path(sys.executable).with_name("jupyter-book"),
            *("build", SOURCE, "--path-output", ROOT, "--all", "-W", "-n", "--keep-going", "-q"),
        ],
        check=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},  # of the tools, not of the book
    )
    print(f"\nThe book is ready: open {ROOT / '_build' / 'html' / 'index.html'}")


def refresh() -> None:
    """Makes each notebook anew from its text twin, with the outputs that tests compare."""
    for text in sorted(NOTEBOOKS.glob("*.md")):
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
        nbformat.write(notebook, text.with_suffix(".ipynb"))
        print(f"refreshed {text.stem}", flush=True)
    _draw_hero(Study.of(), ROOT / "book" / "_static")  # for the README


def _draw_hero(study: Study, folder: Path) -> None:
    figure = plots.simplex(runs.records(study, "ST", "AT"))
    figure.savefig(folder / "simplex.png", dpi=110)


def _execute(path: Path, parameters: dict) -> None:
    place = SOURCE / "notebooks" / path.name
    declared = papermill.inspect_notebook(str(path))
    executed = papermill.execute_notebook(
        str(path),
        str(place),
        {name: value for name, value in parameters.items() if name in declared},
        progress_bar=False,
        cwd=str(NOTEBOOKS),
        extra_arguments=KERNEL_ARGUMENTS,
    )
    setting = _setting(executed)
    for cell in executed.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata.tags.append("hide-cell")  # like the declared parameters above it
        if setting and "figure" in cell.metadata.get("mystnb", {}):
            cell.metadata.mystnb.figure.caption += f"{setting}"
    nbformat.write(executed, place)


def _setting(notebook: nbformat.NotebookNode) -> str:
    """What the captions of a notebook's figures say of its setting."""
    parameters: dict = {}
    for cell in notebook.cells:
        if {"parameters", "injected-parameters"} & set(cell.metadata.get("tags", [])):
            exec(cell.source, parameters)
    return Study.from_notebook(parameters).caption() if "preset" in parameters else ""
