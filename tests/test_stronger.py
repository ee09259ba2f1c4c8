"""Stronger attacks: never weaker, adaptive ones against a closed form, and records under them."""

import json

import pytest
import torch
from torch import nn

from rnc import data, experiments, judge, pgd, runs, stronger
from rnc.attacks import margin
from rnc.config import Attack
from rnc.experiments import plain, read_out
from rnc.stronger import measure_stronger, ncc_classifier, strongest, under_stronger
from rnc.training import Checkpoint, build


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


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("targeted", [False, True])
def test_no_point_is_moved_less_than_by_any_of_the_attacks(
    model, points, generator, norm, targeted
):
    x, y = points
    attack, sign = Attack(norm, 20, 5, 6), -1 if targeted else 1
    weak = pgd(
        model, x, y, eps=20 / 255, alpha=20 / 255, steps=1, norm=norm, targeted=targeted,
        generator=generator,
    )  # fmt: skip
    weak[::2] = x[::2]  # which no attack is weaker than
    found = strongest(model, x, y, weak, attack, generator, "", targeted=targeted)
    moved = sign * (margin(model(found), y) - margin(model(weak), y))
    assert moved.min() >= 0
    assert moved.max() > 0
    best = strongest(model, x, y, found, attack, generator, "", losses=(), targeted=targeted)
    assert torch.equal(best, found)
    order = float("inf") if norm == "linf" else 2
    assert (found - x).flatten(1).norm(order, dim=1).max() <= 20 / 255 * (1 + 1e-5)
    assert found.min() >= 0
    assert found.max() <= 1


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
    found = strongest(ncc, x, y, x, Attack("linf", 8, 2, 10), generator, "", losses=["margin"])
    assert torch.equal(margin(ncc(found), y) < 0, held)


def test_a_record_under_stronger_attacks_is_judged_like_any_other(tiny, empty_store, monkeypatch):
    monkeypatch.setattr(stronger, "STEPS", 4)
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
    monkeypatch.setattr(stronger, "strongest", lambda model, x, y, found, *rest, **named: found)
    measured = measure_stronger(training, tiny.attack, images, end)
    x = experiments.perturbations(training, model, images, tiny.attack)
    read = {name: read_out(model, points) for name, points in x.items()}
    row = plain(experiments.at_epoch(model, images, read))
    layers = plain(experiments.layerwise(model, model.layers, x["clean"], x["pgd"], images.y))
    assert measured["end"] == {n: v for n, v in row.items() if n not in ("clean", "gauss")}
    assert measured["final"] == plain(experiments.leaping(images, read))
    assert measured["layers"]["ncc_accuracy"] == layers["perturbed"]["ncc_accuracy"]
    json.dumps(measured, allow_nan=False)


def test_only_the_ends_are_replaced():
    record = {
        "trajectory": {"pgd": {"nc1": [1, 2]}, "clean": {"nc1": [3, 4]}, "leap": [5, 6]},
        "final": {"leap": [7]},
        "layers": {"perturbed": {"nc1": [8], "ncc_accuracy": [9]}},
    }
    changes = {
        "end": {"pgd": {"nc1": 20}, "leap": 60},
        "final": {"leap": [70]},
        "layers": {"ncc_accuracy": [90]},
    }
    assert under_stronger(record, changes) == {
        "trajectory": {"pgd": {"nc1": [1, 20]}, "clean": {"nc1": [3, 4]}, "leap": [5, 60]},
        "final": {"leap": [70]},
        "layers": {"perturbed": {"nc1": [8], "ncc_accuracy": [90]}},
    }
    assert record["trajectory"]["leap"] == [5, 6]
