"""Stronger attacks: never weaker, adaptive ones against a closed form, and records under them."""

import pytest
import torch
from torch import nn

from rnc import judge, pgd, progress, records
from rnc.attacks import LOSSES, margin
from rnc.collapse import nearest_class_centre
from rnc.models import output
from rnc.study import data
from rnc.study.measurements import MEASUREMENTS, Parts, Subject, plain, standard, stronger
from rnc.study.measurements.stronger import ncc_classifier, strongest
from rnc.study.settings import Attack
from rnc.study.training import build
from rnc.surveys import class_means, share


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
    titles = ["ST", "AT"]
    own, under = records(tiny, *titles), records(tiny, *titles, stronger=True)
    assert list(under) == titles
    for title in titles:
        (before,), (after,) = own[title], under[title]
        assert after["trajectory"]["clean"] == before["trajectory"]["clean"]
        assert after.trained == before.trained
        accuracy = [record.curve("pgd", "accuracy") for record in (before, after)]
        assert (accuracy[0][:-1] == accuracy[1][:-1]).all()
        assert accuracy[1][-1] <= accuracy[0][-1]
        assert after.targeted_success >= before.targeted_success
        ncc = [record.layer_curve("pgd", "ncc_accuracy") for record in (before, after)]
        assert (ncc[1] <= ncc[0]).all()
        assert (
            after.layer_curve("pgd", "nc1").tolist() == before.layer_curve("pgd", "nc1").tolist()
        )
    verdicts = judge(under, "C3", "C5", "C7", "C10", "C12")
    assert "not measured" not in [verdict.verdict for verdict in verdicts]
    again = records(tiny, *titles)
    assert all(again[title][0].measured.items() >= own[title][0].measured.items() for title in own)


def test_the_measures_are_those_of_the_points_found(images, tiny, monkeypatch):
    """With attacks that find nothing new, the stronger measures are the record's own."""
    training = tiny.training("at")
    state = build(training, images).state_dict()
    subject = Subject(training, tiny.evaluation, images, lambda epoch: state)
    monkeypatch.setattr(stronger, "strongest", lambda model, y, tried, targeted: tried[0])
    measured = plain(MEASUREMENTS["stronger"].function(subject, Parts()))
    row = plain(standard.at_epoch(subject.read, subject.y, subject.model.classifier.weight))
    layers = plain(standard.layers(subject, Parts()))
    assert measured["end"] == {
        name: value for name, value in row.items() if name not in ("clean", "gauss")
    }
    assert measured["leaping"] == plain(standard.where_points_land(subject.read, subject.y))
    assert measured["layers"]["ncc_accuracy"] == layers["pgd"]["ncc_accuracy"]


def test_network_and_ncc_classifier_are_each_attacked_itself(images, tiny):
    """By all losses from the same start; the centres are training means for test points too."""
    training = tiny.training("at")
    state = build(training, images).state_dict()
    subject = Subject(training, tiny.evaluation, images, lambda epoch: state)
    found = MEASUREMENTS["ncc_attacked"].function(subject, Parts())
    model, attack = subject.model, stronger.longer(tiny.evaluation.attack)
    centres = class_means(output(model, subject.x, "penultimate"), subject.y, 10)
    ncc = ncc_classifier(model, "penultimate", subject.x, subject.y, 10)
    test = data.unit(images.x_test), images.y_test
    for kind, (x, y) in {"train": (subject.x, subject.y), "test": test}.items():
        assert found[kind]["network"] <= share(model(x).argmax(1) == y)
        noise = torch.Generator().manual_seed(1)
        tried = [pgd(ncc, x, y, loss=loss, generator=noise, **attack.size) for loss in LOSSES]
        nearest = [nearest_class_centre(output(model, t, "penultimate"), centres) for t in tried]
        right = torch.stack([labels == y for labels in nearest]).all(0)
        assert found[kind]["ncc"] == pytest.approx(share(right), abs=2 / len(y))


def test_a_budget_stops_between_attacks(images, tiny):
    training = tiny.training("st")
    state = build(training, images).state_dict()
    subject = Subject(training, tiny.evaluation, images, lambda epoch: state)
    with progress.until(0), pytest.raises(progress.OutOfTime, match="stronger attacks on ST"):
        MEASUREMENTS["stronger"].function(subject, Parts())


def test_longer_attacks_can_cross_the_ball():
    more = stronger.longer(Attack("l2", 128, 15, 10))
    assert (more.norm, more.eps, more.steps) == ("l2", 128, 50)
    assert more.alpha * more.steps == pytest.approx(2.5 * 128)
