"""Notebooks as their users run them: twins in step, parameters, errors, any working directory."""

import itertools
import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import jupytext
import nbformat
import pytest

import rnc
from rnc.neighbours import NEIGHBOURS
from rnc.study import store
from rnc.study.notebook import assigned
from rnc.study.reports import Named

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ATTACKS = ROOT / "notebooks" / "03_attacks.ipynb"
VOCABULARY = {
    "preset", "dataset", "per_class", "model", "width", "norm", "eps", "alpha", "steps", "epochs",
    "seed", "seeds", "precision", "measured_per_class", "device",
}  # fmt: skip
all_notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def papermill(*arguments, cwd):
    return subprocess.run(
        [Path(sys.executable).with_name("papermill"), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
    )


def contents(notebook):
    return [
        (c.cell_type, c.source, sorted(c.metadata.get("tags", [])), c.metadata.get("mystnb"))
        for c in notebook.cells
    ]


@all_notebooks
def test_text_twin_and_notebook_are_in_step(path):
    twin = jupytext.read(path.with_suffix(".md"))
    assert contents(twin) == contents(nbformat.read(path, as_version=4))


@all_notebooks
def test_outputs_are_stored_where_they_are_compared_and_nowhere_else(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            checked = "nbval-check-output" in cell.metadata.get("tags", [])
            assert bool(cell.outputs) == checked, cell.source
            assert (cell.execution_count is not None) == checked


@all_notebooks
def test_real_images_are_shown_from_what_is_published(path, empty_store, monkeypatch):
    """To a network of another processor nothing can be added: no chapter must ask for it."""
    monkeypatch.delenv("RNC_RECORDS", raising=False)
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    calls = [
        call
        for cell in cells
        for call in re.findall(r"rnc\.records\((?:[^()]|\([^()]*\))*\)", cell.source)
    ]
    if not calls:
        return
    (declared,) = [c.source for c in cells if "parameters" in c.metadata.get("tags", [])]
    exec(declared, given := {})
    chosen = {name: given[name] for name in assigned(declared)} | {"preset": "cifar10-small"}
    study = rnc.Study.of(**chosen)
    study = study.first_seed() if "seed" in chosen else study

    def compute(request, *_):
        pytest.fail(f"{request.training} lacks one of {request.extra}")

    monkeypatch.setattr(store, "_make", compute)
    for call in calls:
        assert eval(call, {"rnc": rnc, "study": study})


def names_of(settings):
    """Of settings, and of the settings among their values."""
    nested = (names_of(value) for value in settings.values() if isinstance(value, dict))
    return {*settings, *itertools.chain(*nested)}


@all_notebooks
def test_every_parameter_is_listed_with_type_unit_and_default(path, tmp_path):
    run = papermill("--help-notebook", path, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    listed = re.findall(r"^  (\w+): (\w+) \(default (.+?)\)\s+(\S.*)$", run.stdout, re.M)
    cells = nbformat.read(path, as_version=4).cells
    (cell,) = [c for c in cells if "parameters" in c.metadata.get("tags", [])]
    declared = assigned(cell.source)
    assert [name for name, *_ in listed] == declared
    own = {neighbour.chapter: names_of(asdict(neighbour.settings())) for neighbour in NEIGHBOURS}
    named = set(Named.__dataclass_fields__) if path.stem == "10_your_network" else set()
    assert set(declared) - named <= set(own.get(path.stem, VOCABULARY))
    units = {name: text for name, _, _, text in listed}
    if path.stem > "02" and path.stem not in own:
        assert {"norm", "eps", "alpha", "steps", "device"} <= set(units)
        assert "1/255" in units["eps"]
        assert "1/255" in units["alpha"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epss", "8", "this notebook has no parameter 'epss' (did you mean eps?)"),
        (
            "dataset",
            "mnist",
            "dataset must be one of digits, cifar10, cifar10-drawn, cifar100, imagefolder:PATH or "
            "npz:PATH; got 'mnist'",
        ),
        ("eps", "-1", "eps must be a number in units of 1/255, at least 0; got -1"),
        ("norm", "l3", "norm must be one of linf, l2; got 'l3'"),
        ("device", "cuda:9", "device 'cuda:9' is not available on this machine; there is cpu"),
    ],
)
def test_a_mistake_stops_the_first_cell_with_one_sentence(tmp_path, name, value, message):
    run = papermill(ATTACKS, "out.ipynb", "-p", name, value, cwd=tmp_path)
    assert run.returncode != 0
    assert f"ParameterError: {message}" in run.stderr
    assert (
        "Traceback" not in run.stderr.split("ParameterError")[0].split("Exception encountered")[-1]
    )
    executed = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    ran = [c for c in executed.cells if c.cell_type == "code" and c.execution_count]
    # the note that papermill adds, the parameters, the injected ones, and the first cell
    assert "from_notebook" in ran[-1].source


def test_eps_changes_the_results_and_zero_gives_the_clean_ones(tmp_path, empty_store):
    """Run from elsewhere; a network of two channels and two epochs stands for all."""
    probe = "print([round(records['ST'][0].end(kind, 'nc1'), 6) for kind in ('clean', 'pgd')])"
    notebook = nbformat.read(ATTACKS, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(probe))
    nbformat.write(notebook, tmp_path / "probed.ipynb")
    values = {}
    for eps in (0, 8):
        run = papermill(
            "probed.ipynb", f"out{eps}.ipynb", "-p", "eps", eps, "-p", "width", 2, "-p",
            "epochs", 2, "-p", "per_class", 20, cwd=tmp_path,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        executed = nbformat.read(tmp_path / f"out{eps}.ipynb", as_version=4)
        # a kernel may send what is printed in pieces
        printed = "".join(output["text"] for output in executed.cells[-1].outputs)
        values[eps] = json.loads(printed)
    assert values[0][0] == values[0][1] == values[8][0]
    assert values[8][1] != values[8][0]


def test_the_package_does_not_need_jupyter():
    code = "import sys, rnc.cli; print([m for m in sys.modules if 'jupy' in m or 'nb' == m[:2]])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
