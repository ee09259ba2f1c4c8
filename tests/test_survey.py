"""A survey of a network that is not ours, against each measure by itself."""

import csv

import pytest
import torch
from torch import nn

from rnc import measure, nearest_class_centre, pgd, simplex_alignment, survey, surveys
from rnc.models import features
from rnc.show import plots
from rnc.study import data

ATTACK = {"eps": 8 / 255, "alpha": 4 / 255, "steps": 2}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 10)
    )


@pytest.fixture(scope="module")
def images():
    return data.load("digits", per_class=12)


@pytest.fixture(scope="module")
def found(network, images):
    generator = torch.Generator().manual_seed(1)
    return survey(
        network, images.x, images.y, ["0", "2", "3"], network[4].weight, **ATTACK,
        batch=120, generator=generator,
    )  # fmt: skip


def test_each_measure_is_that_of_its_own_function(found, network, images):
    attacked = pgd(
        network, images.x, images.y, **ATTACK, generator=torch.Generator().manual_seed(1)
    )
    logits, outputs = features(network, attacked, ["0", "3"])
    clean = measure([(features(network, images.x, ["3"])[1]["3"], images.y)], 10)
    c = measure([(outputs["3"], images.y)], 10, network[4].weight)
    pgd_points = found.measures["pgd"]
    for name in ("nc1", "nc2_norms", "nc2_angles", "nc3", "within"):
        assert pgd_points[name] == pytest.approx(getattr(c, name), rel=1e-5)
    right = (logits.argmax(1) == images.y).double().mean()
    assert pgd_points["accuracy"] == pytest.approx(float(right))
    nearest = nearest_class_centre(outputs["3"], clean.means)
    assert pgd_points["ncc_accuracy"] == float((nearest == images.y).double().mean())
    first = measure([(outputs["0"], images.y)], 10)
    assert found.layers["pgd"]["nc1"][0] == pytest.approx(first.nc1, rel=1e-5)
    by_prediction = torch.stack(
        [outputs["3"][logits.argmax(1) == k].double().mean(0) for k in range(10)]
    )
    expected = simplex_alignment(clean.means, by_prediction)
    assert torch.allclose(found.leap, expected, rtol=1e-4, equal_nan=True)


def test_a_larger_batch_changes_nothing_but_rounding(found, network, images):
    again = survey(
        network, images.x, images.y, ["0", "2", "3"], network[4].weight, **ATTACK,
        batch=50, generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    assert again.measures["clean"]["nc1"] == pytest.approx(found.measures["clean"]["nc1"])
    assert again.layers["clean"]["nc1"] == pytest.approx(found.layers["clean"]["nc1"])


def test_the_network_is_left_as_it_was(network, images):
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    survey(network, images.x, images.y, ["3"], **ATTACK)
    assert network.training
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_the_table_is_tidy_and_can_be_saved(found, tmp_path):
    rows = found.rows()
    assert len({(r["points"], r["layer"], r["measure"]) for r in rows}) == len(rows)
    assert {r["points"] for r in rows} == {"clean", "pgd", "gauss"}
    assert {r["layer"] for r in rows} == {"0", "2", "3"}
    found.save(tmp_path / "table.csv")
    with open(tmp_path / "table.csv", newline="") as file:
        read = list(csv.DictReader(file))
    assert [float(r["value"]) for r in read] == pytest.approx(
        [r["value"] for r in rows], nan_ok=True
    )
    assert plots.layers({"mine": [found]}).axes


def test_without_a_classifier_its_measures_are_undefined(network, images):
    found = survey(network, images.x, images.y, ["3"], **ATTACK)
    assert found.measures["clean"]["nc3"] != found.measures["clean"]["nc3"]
    assert found.measures["clean"]["nc1"] > 0


def test_mistakes_are_named_before_the_attack(network, images, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(surveys, "read_out", None)
        with pytest.raises(ValueError, match="layers must name at least one module; got none"):
            survey(network, images.x, images.y, [])
        with pytest.raises(KeyError, match="the network has no layer 'fc'"):
            survey(network, images.x, images.y, ["0", "fc", "3"])
    with pytest.raises(ValueError, match=r"images must be in \[0, 1\]"):
        survey(network, images.x * 255, images.y, ["3"])


def test_what_does_not_fit_is_said_before_the_attack(network, images, monkeypatch):
    """Such as a network of a thousand classes and images of ten of them."""
    monkeypatch.setattr(surveys, "pgd", None)
    wide = nn.Sequential(*network[:4], nn.Linear(4 * 14 * 14, 1000))
    with pytest.raises(ValueError, match="990 of 1000 have none, such as class 10"):
        survey(wide, images.x, images.y, ["3"])
    with pytest.raises(ValueError, match="weight must be 10 x 784 .*; got 10 x 3"):
        survey(network, images.x, images.y, ["3"], torch.zeros(10, 3))
