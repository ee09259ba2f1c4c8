"""Stronger attacks: never weaker, adaptive ones against a closed form, and records under them."""

import json

import pytest
import torch
from torch import nn

from rnc import data, experiments, judge, pgd, runs, stronger
from rnc.attacks import margin
from rnc.config import Attack
from rnc.experiments import plain, read_out
from rnc.stronger import (
    Mismatch,
    measure_stronger,
    ncc_classifier,
    strongest,
    under_stronger,
)
from rnc.training import Checkpoint, OutOfTime, build


@pytest.fixture(scope="module")
def images():
    return data.load("digits")


@pytest.fixture
def points(generator):
    return torch.rand(40, 3, 4, 4, generator=generator), torch.arange(40) % 3


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 20), nn.ReLU(), nn.Linear(20, 3)).eval()


@pytest.mark.parametrize("targeted", [False, True])
def test_the_strongest_is_the_best_of_each_point(model, points, generator, targeted):
    x, y = points
    tried = [(x + 0.1 * torch.randn(x.shape, generator=generator)).clamp(0, 1) for _ in range(4)]
    found = strongest(model, y, tried, targeted)
    for i in range(len(x)):
        with torch.no_grad():
            margins = [float(margin(model(t[i : i + 1]), y[i : i + 1])) for t in tried]
        best = margins.index(min(margins) if targeted else max(margins))
        assert torch.equal(found[i], tried[best][i])


def test_an_adaptive_attack_finds_every_point_that_can_be_moved(generator):
    """On two classes of pixels NCC is linear: l_inf moves a point by eps |mu_1 - mu_0|_1."""
    y = torch.arange(200) % 2
    shift = torch.where(torch.rand(3, 4, 4, generator=generator) < 0.5, -0.05, 0.05)
    noise = 0.2 * torch.randn(200, 3, 4, 4, generator=generator).clamp(-1, 1)
    x = 0.5 + y.view(-1, 1, 1, 1) * shift + noise  # far from 0 and 1
    model = nn.Sequential(nn.Flatten())
    ncc = ncc_classifier(model, "0", x, y, 2)
    mean = [x[y == c].double().mean(0) for c in (0, 1)]
    direction, middle = mean[1] - mean[0], (mean[0] + mean[1]) / 2
    distance = ((x - middle) * direction).flatten(1).sum(1) * torch.where(y == 1, 1, -1)
    eps = 8 / 255
    held = distance > eps * direction.abs().sum()
    assert 0.2 < held.double().mean() < 0.8
    found = pgd(ncc, x, y, eps=eps, alpha=eps / 4, steps=10, loss="margin", generator=generator)
    assert torch.equal(margin(ncc(found), y) < 0, held)


def test_a_record_under_stronger_attacks_is_judged_like_any_other(tiny, empty_store):
    labels = ["ST", "AT"]
    records, others = runs.records(tiny, *labels), runs.records(tiny, *labels, stronger=True)
    assert list(others) == labels
    for label in labels:
        own, under = records[label], others[label]
        assert under["trajectory"]["clean"] == own["trajectory"]["clean"]
        assert under["history"] == own["history"]
        accuracy = [r["trajectory"]["pgd"]["accuracy"] for r in (own, under)]
        assert accuracy[0][:-1] == accuracy[1][:-1]
        assert accuracy[1][-1] <= accuracy[0][-1]
        success = [r["final"]["targeted_success"] for r in (own, under)]
        assert success[1] >= success[0]
        ncc = [r["layers"]["perturbed"]["ncc_accuracy"] for r in (own, under)]
        assert all(adaptive <= transferred for transferred, adaptive in zip(*ncc, strict=True))
        assert len(ncc[1]) == len(own["layers"]["names"])
    assert "not measured" not in str(judge([others], "C3", "C5", "C7", "C10", "C12"))
    assert runs.records(tiny, *labels) == records  # as they were


def test_the_measures_are_those_of_the_points_found(images, tiny, monkeypatch):
    """With attacks that find nothing new, the stronger measures are the record's own."""
    training = tiny.training("at")
    model = build(training, images).eval()
    end = Checkpoint(3, model.state_dict(), [], [], 0.0)
    monkeypatch.setattr(stronger, "strongest", lambda model, y, tried, targeted: tried[0])
    measured = measure_stronger(training, tiny.attack, images, end)
    x = experiments.perturbations(training, model, images, tiny.attack)
    read = {name: read_out(model, points) for name, points in x.items()}
    row = plain(experiments.at_epoch(model, images, read))
    layers = plain(experiments.layerwise(model, model.layers, x["clean"], x["pgd"], images.y))
    assert measured["end"] == {name: value for name, value in row.items() if name != "gauss"}
    assert measured["final"] == plain(experiments.leaping(images, read))
    assert measured["layers"]["ncc_accuracy"] == layers["perturbed"]["ncc_accuracy"]
    json.dumps(measured, allow_nan=False)


@pytest.fixture
def pair():
    record = {
        "trajectory": {"pgd": {"nc1": [1, 2]}, "clean": {"loss": [3, 4]}, "leap": [5, 6]},
        "final": {"leap": [7]},
        "layers": {"perturbed": {"nc1": [8], "ncc_accuracy": [9]}},
    }
    changes = {
        "end": {"pgd": {"nc1": 20}, "clean": {"loss": 4}, "leap": 60},
        "final": {"leap": [70]},
        "layers": {"ncc_accuracy": [90]},
    }
    return record, changes


def test_only_the_ends_are_replaced(pair):
    record, _ = pair
    assert under_stronger(*pair) == {
        "trajectory": {"pgd": {"nc1": [1, 20]}, "clean": {"loss": [3, 4]}, "leap": [5, 60]},
        "final": {"leap": [70]},
        "layers": {"perturbed": {"nc1": [8], "ncc_accuracy": [90]}},
    }
    assert record["trajectory"]["leap"] == [5, 6]


def test_two_networks_are_not_mixed(pair):
    pair[1]["end"]["clean"]["loss"] = 4.1
    with pytest.raises(Mismatch, match=r"of two networks \(their losses are 4 and 4.1\).*RNC_REC"):
        under_stronger(*pair)


def test_a_deadline_stops_between_attacks(images, tiny):
    training = tiny.training("st")
    end = Checkpoint(3, build(training, images).state_dict(), [], [], 0.0)
    with pytest.raises(OutOfTime, match="stopped amid stronger attacks"):
        measure_stronger(training, tiny.attack, images, end, deadline=0.0)


def test_longer_attacks_can_cross_the_ball():
    more = stronger.longer(Attack("l2", 128, 15, 10))
    assert (more.norm, more.eps, more.steps) == ("l2", 128, 50)
    assert more.alpha * more.steps == pytest.approx(2.5 * 128)
