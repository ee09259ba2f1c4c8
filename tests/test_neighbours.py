"""What the chapters on neighbouring papers share."""

import itertools
import json
import pickle
import re
from dataclasses import asdict, dataclass

import joblib
import jupytext
import pytest
import torch

from rnc import cli
from rnc.neighbours import NEIGHBOURS
from rnc.neighbours.neighbour import Neighbour, claim, experiment
from rnc.neighbours.run import run
from rnc.study import folders
from rnc.study.claims import CLAIMS, Condition


@dataclass(frozen=True)
class Settings:
    counts: tuple[int, ...] = (5, 3)
    size: float = 2
    seeds: tuple[int, ...] = (0, 1)


asked: list = []


@experiment(version=1)
def total(settings):
    asked.append(settings)
    return {"sum": torch.tensor([sum(settings.counts)])}


@experiment(version=1, each_seed=True)
def drawn(settings, seed):
    asked.append(seed)
    return {"value": seed + len(settings.counts)}


SMALL = claim(
    "99_nothing",
    "N1",
    "small",
    "What is drawn is small.",
    "nowhere",
    Condition("value", lambda seed: seed["drawn"][seed["number"]]["value"], "<=", 2),
)
NEIGHBOUR = Neighbour(
    "99_nothing", "Nobody (2020)", "what is left", Settings, (total, drawn), (SMALL,)
)


@pytest.fixture(autouse=True)
def fresh(empty_store, tmp_path, monkeypatch):
    monkeypatch.setenv("RNC_RECORDS", str(tmp_path / "records"))
    asked.clear()


def test_results_are_kept_and_a_change_of_settings_is_another_one():
    assert total(Settings()) == total(Settings()) == {"sum": [8]}
    assert total(Settings((5, 4))) == {"sum": [9]}
    assert len(asked) == 2


def test_one_more_seed_leaves_the_others_as_they_are():
    first = NEIGHBOUR.measure(Settings())
    assert first == {"total": {"sum": [8]}, "drawn": [{"value": 2}, {"value": 3}]}
    asked.clear()
    again = NEIGHBOUR.measure(Settings(seeds=(1, 2)))
    assert again["drawn"] == [{"value": 3}, {"value": 4}]
    assert 2 in asked
    assert 1 not in asked


def test_a_claim_has_a_column_for_each_seed():
    (verdict,) = NEIGHBOUR.judge(NEIGHBOUR.measure(Settings()), (0, 1))
    assert verdict.values.tolist() == [[2, 3]]
    assert verdict.verdict == "partly"


def test_what_is_published_is_found_in_an_empty_store(tmp_path, monkeypatch):
    for seed in (1, 1):
        drawn(Settings(), seed)
        drawn.publish(Settings(), seed)
    (file,) = folders.published().rglob("*.json")
    assert file.parent.name == "drawn"
    monkeypatch.setenv("RNC_STORE", str(tmp_path / "another"))
    asked.clear()
    assert drawn(Settings(), 1) == {"value": 3}
    assert not asked
    drawn(Settings(), 0)
    assert asked == [0]


def test_the_command_runs_what_is_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(cli, "NEIGHBOURS", (NEIGHBOUR,))
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    cli.main(["neighbours", "--only", "99_nothing", "--seeds", "4", "--publish"])
    assert 4 in asked
    said = capsys.readouterr().out
    assert "experiments: 2, kept: 0" in said
    assert "2 of 2 done: test_neighbours/drawn seed 4" in said or "drawn seed 4" in said
    assert len(list(folders.published().rglob("*.json"))) == 2
    cli.main(["neighbours", "--seeds", "4"])
    assert "experiments: 2, kept: 2" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["neighbours", "--only", "12_nothing"])
    assert "only must be one of 99_nothing; got '12_nothing'" in capsys.readouterr().err


def test_chapters_take_turns_with_what_is_missing(monkeypatch):
    begun = []
    monkeypatch.setattr("rnc.neighbours.run._run", lambda task: begun.append(task[1:]))
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    small, large = Settings(), Settings((9, 9))
    drawn(small, 0)
    run([[(drawn, small, (n,)) for n in range(3)], [(total, small, ()), (total, large, ())]])
    assert begun == [(small, (1,)), (small, ()), (small, (2,)), (large, ())]


def test_one_that_fails_leaves_the_others(monkeypatch, capsys):
    @experiment(version=1)
    def broken(settings):
        raise RuntimeError("no")

    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    with pytest.raises(SystemExit):
        run([[(broken, Settings(), ()), (total, Settings(), ())]])
    said = capsys.readouterr().out
    assert "1 of 2 failed: " in said
    assert "broken: RuntimeError: no" in said
    assert total.is_kept(Settings())
    assert not broken.is_kept(Settings())


def test_another_process_finds_an_experiment_by_its_name():
    for neighbour in NEIGHBOURS:
        for one in neighbour.experiments:
            assert pickle.loads(pickle.dumps(one)) is one


def test_every_neighbour_has_a_chapter_and_names_of_its_own():
    names = [claim.id for neighbour in NEIGHBOURS for claim in neighbour.claims]
    assert len(set(names)) == len(names)
    for neighbour in NEIGHBOURS:
        assert (folders.CHECKOUT / "notebooks" / f"{neighbour.chapter}.md").exists()
        assert all(claim.chapter == neighbour.chapter for claim in neighbour.claims)
        assert neighbour.settings().seeds


def test_a_bound_doubled_is_one_that_a_value_can_reach():
    """The largest that a share, a cosine or a correlation can be is 1; what has a bound above 0
    cannot be below."""
    for one in itertools.chain(CLAIMS, *(neighbour.claims for neighbour in NEIGHBOURS)):
        for test in one.conditions:
            if test.bound > 0 and not test.at:
                assert min(test.bound_at(factor) for factor in (0.5, 2)) > 0, (one.id, test.what)
            share = re.search("^(cosine|share|NCC accuracy)|agree|reached|correlation", test.what)
            if test.relation == ">=" and share:
                assert test.bound_at(2) <= 1, (one.id, test.what)


def test_a_number_is_one_setting_with_a_point_and_without():
    assert total(Settings(size=2)) == total(Settings(size=2.0))
    assert len(asked) == 1
    assert total(Settings(size=3)) == total(Settings(size=3.0))
    assert len(asked) == 2


@pytest.mark.parametrize("neighbour", NEIGHBOURS, ids=lambda neighbour: neighbour.chapter)
def test_a_notebook_asks_for_what_the_settings_have_by_default(neighbour):
    """To the type of a number: 2 and 2.0 have two keys, and the published results have one."""
    notebook = jupytext.read(folders.CHECKOUT / "notebooks" / f"{neighbour.chapter}.md")
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    parameters: dict = {}
    exec(cell.source, parameters)
    asked = neighbour.settings.from_notebook(parameters)
    assert json.dumps(asdict(asked)) == json.dumps(asdict(neighbour.settings()))
