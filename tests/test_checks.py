"""Checks that tell robustness from an attack that fails, and attacks on layers themselves."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from rnc.errors import UserError
from rnc.study import data, store
from rnc.study.measurements import MEASUREMENTS, Parts, Subject, plain
from rnc.study.settings import Attack
from rnc.study.store import Request
from rnc.study.training import build, train


@pytest.fixture(scope="module")
def images():
    return data.load("digits", per_class=20)


@pytest.fixture
def subject(tiny, images):
    training = replace(tiny.training("st"), width=8, epochs=10)
    end = train(training, images).model
    evaluation = replace(tiny.evaluation, attack=Attack("linf", 8, 2, 10))
    other = build(training, images).state_dict()
    return Subject(training, evaluation, images, lambda epoch: end, trained=lambda training: other)


def values(subject, name, part=None):
    return plain(MEASUREMENTS[name].function(subject, part or Parts()))


def test_a_ball_that_holds_every_image_leaves_nothing(subject):
    found = values(subject, "checks")
    assert found["radii"] == [8, 16, 32, 64, 128]
    assert found["accuracy"][-1] == 0
    assert found["transfer"] is None  # of ST itself
    clean = (subject.model(subject.x).argmax(1) == subject.y).double().mean()
    assert found["accuracy"][0] < clean


def test_more_starts_never_leave_more(subject):
    starts = np.array(values(subject, "checks")["starts"])
    assert (np.diff(starts) <= 0).all()


def test_a_transferred_perturbation_is_one_of_another_network(tiny, images):
    """Made for itself it is the attack; made for a network that knows nothing it is noise."""
    training = replace(tiny.training("at"), width=8)
    state = build(training, images).state_dict()
    attack = {"evaluation": tiny.evaluation, "images": images, "weights": lambda epoch: state}
    same = Subject(training, **attack, trained=lambda training: state)
    assert values(same, "checks")["transfer"] == values(same, "checks")["accuracy"][0]
    asked = []

    def trained(other):
        asked.append(other)
        return {name: torch.zeros_like(t) for name, t in state.items()}

    values(Subject(training, **attack, trained=trained), "checks")
    assert [t.method.name for t in asked] == ["st"]
    assert replace(asked[0], method=training.method, attack=training.attack) == training


def test_the_surrogate_is_trained_once_and_kept(tiny, empty_store, monkeypatch):
    st, at = tiny.training("st"), tiny.training("at")
    record = store.make(Request(at, tiny.evaluation, ("checks",)))
    assert 0 <= record["checks"]["transfer"] <= 1
    assert (store.home(st) / "training.json").exists()
    monkeypatch.setattr(store, "_train", lambda *args: pytest.fail("trained again"))
    stronger = replace(tiny.evaluation, attack=tiny.evaluation.attack.at_radius(4))
    store.make(Request(at, stronger, ("checks",)))


def test_autoattack_leaves_no_more_than_pgd(subject):
    found = values(subject, "autoattack")
    for points in ("train", "test"):
        assert found[points]["points"] == 100
        assert found[points]["autoattack"] <= found[points]["pgd"] <= found[points]["clean"]


def test_autoattack_takes_images_of_any_layout(subject):
    color = subject.images.x.expand(-1, 3, -1, -1) if subject.images.x.shape[1] == 1 else None
    images = subject.images if color is None else replace(subject.images, x=color)
    last = {"memory_format": torch.channels_last}
    subject.images = replace(images, x=images.x.contiguous(**last))
    subject.model.to(**last)
    assert values(subject, "autoattack")["train"]["points"] == 100


def test_autoattack_says_what_it_needs(subject, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyautoattack", None)
    with pytest.raises(UserError, match="pip install pyautoattack"):
        values(subject, "autoattack")


def test_early_layers_under_their_own_attack(subject):
    found = values(subject, "early")
    assert found["radii"] == [2, 4, 8, 16]
    for name in ("pixels", "untrained", "first", "last"):
        accuracy = [found["clean"][name], *found[name]]
        assert all(after <= before for before, after in itertools.pairwise(accuracy))


def test_the_pixels_keep_what_a_linear_classifier_can(subject, monkeypatch):
    """NCC on pixels is linear: no l_inf perturbation moves the difference of two of its logits by
    more than eps times the l1 norm of its gradient, so that what is beyond that is kept."""
    found = values(subject, "early")
    x, y = subject.x.flatten(1).double(), subject.y
    centres = torch.stack([x[y == c].mean(0) for c in range(10)])
    logits = x @ centres.T - centres.square().sum(1) / 2
    reach = (centres[:, None] - centres).abs().sum(2)  # between each two classes
    for eps, kept in zip(found["radii"], found["pixels"], strict=True):
        others = logits + eps / 255 * reach[y]
        others[torch.arange(len(y)), y] = -torch.inf
        certain = (logits[torch.arange(len(y)), y] > others.amax(1)).double().mean()
        assert certain <= kept


def test_the_radii_of_a_check_are_steps_that_resume(subject):
    done = Parts()
    first = values(subject, "early", done)
    again = Parts(done.done, lambda done: pytest.fail("measured again"))
    assert values(subject, "early", again) == first
