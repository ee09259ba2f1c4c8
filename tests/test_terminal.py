"""What is measured at the end of a training, against formulas of its own and made-up leaps."""

import numpy as np
import pytest
import torch

from rnc import simplex_etf
from rnc.study import data
from rnc.study.measurements import MEASUREMENTS, Parts, Subject, plain
from rnc.study.measurements.changed import grouped, scatter
from rnc.study.training import build

K, D, N = 6, 20, 3000


@pytest.fixture(scope="module")
def images():
    return data.load("digits", per_class=20)


@pytest.fixture
def subject(tiny, images):
    training = tiny.training("st")
    state = build(training, images).state_dict()
    return Subject(training, tiny.evaluation, images, lambda epoch: state)


def values(subject, name):
    return plain(MEASUREMENTS[name].function(subject, Parts()))


@pytest.fixture
def clean(generator):
    return 4 * simplex_etf(K, D, generator) + 1


def test_points_that_leap_stand_at_the_vertex_of_their_new_label(clean, generator):
    labels = torch.randint(K, (N,), generator=generator)
    found = grouped(clean, clean[labels], labels, 2 * N)
    assert found["share"] == 0.5
    assert found["angle"].max() < 1e-9
    assert found["length"].tolist() == pytest.approx([1] * K)
    assert found["nc1"] < 1e-9
    shorter = grouped(clean, 1 + (clean[labels] - 1) / 2, labels, N)
    assert shorter["length"].tolist() == pytest.approx([0.5] * K)


def test_a_class_that_no_point_leaps_to_is_left_out(clean):
    labels = torch.arange(4).repeat(5)
    found = grouped(clean, clean[labels], labels, 20)
    assert plain(found["angle"])[4:] == [None, None]
    assert found["angle"][:4].max() < 1e-9
    assert found["length"][:4].tolist() == pytest.approx([1] * 4)
    none = grouped(clean, clean[:0], labels[:0], 20)
    assert none["share"] == 0
    assert plain(none["angle"]) == [None] * K
    assert plain(none["nc1"]) is None
    alone = grouped(clean, clean[:1], labels[:1], 20)
    assert plain(alone["nc1"]) is None


@pytest.mark.parametrize("in_span", [False, True])
def test_scatter_is_isotropic_about_the_centre_and_as_wide(clean, generator, in_span):
    h = clean[torch.randint(K, (N,), generator=generator)]
    h = h + torch.randn(N, D, dtype=torch.float64, generator=generator)
    points, origin = scatter(clean, h, in_span), clean.mean(0)
    axes = torch.linalg.svd(clean - origin, full_matrices=False)[2][: K - 1]
    if in_span:
        inside = (points - origin) @ axes.T
        assert torch.allclose(origin + inside @ axes, points)
        width = ((h - origin) @ axes.T).square().mean()
    else:
        inside, width = points - origin, (h - origin).square().mean()
    assert float(inside.square().mean()) == pytest.approx(float(width), rel=0.05)
    covariance = np.cov(inside.T.numpy())
    assert np.allclose(covariance, np.eye(len(covariance)) * float(width), atol=0.15 * width)


def test_scatter_too_has_means_near_the_vertices_but_does_not_cluster_there(tiny, images):
    """Why an angle alone tells nothing: the argmax sorts any points towards the vertices."""
    generator = torch.Generator().manual_seed(0)
    clean = 4 * simplex_etf(10, 128, generator)
    points = scatter(clean, torch.randn(20_000, 128, generator=generator), in_span=True)
    labels = (points @ clean.T).argmax(1)
    found = grouped(clean, points, labels, len(points))
    assert float(found["angle"].mean()) < 0.1 * np.arccos(-1 / 9)
    assert found["nc1"] > 2


def test_changed_points_are_those_and_their_nulls_are_as_many(subject):
    found = values(subject, "changed")
    away = subject.read["pgd"][0].argmax(1) != subject.y
    assert found["pgd"]["share"] == pytest.approx(float(away.double().mean()))
    assert found["scatter"]["share"] == found["scatter_in_span"]["share"] == found["pgd"]["share"]
    reached = subject.read["targeted"][0].argmax(1) == (subject.y + 1) % 10
    assert found["targeted"]["share"] == pytest.approx(float(reached.double().mean()))


def test_geometry_agrees_with_what_is_measured_elsewhere(subject):
    found, test = values(subject, "geometry"), values(subject, "test")
    assert list(found) == ["clean", "pgd", "gauss", "targeted", "test", "test_pgd"]
    assert found["test"]["accuracy"] == test["clean"]
    assert found["test_pgd"]["accuracy"] == test["pgd"]
    for kind, measured in found.items():
        parts = measured["nc3_lengths"] + measured["nc3_directions"]
        assert parts == pytest.approx(measured["nc3"], rel=1e-4), kind
        assert sum(measured["spectrum"]) == pytest.approx(1, rel=1e-4)
        assert 1 <= measured["effective_rank"] <= 9.001
    assert found["clean"]["kl"] == found["test"]["kl"] == 0
    assert found["pgd"]["kl"] > 0
    assert max(found["clean"]["principal_angles"]) < 1e-7


def test_baselines_have_learnt_nothing(tiny, images):
    """An untrained network of the same seed, whatever the weights; and pixels."""
    training = tiny.training("st")
    state = {name: t * 2 for name, t in build(training, images).state_dict().items()}
    subject = Subject(training, tiny.evaluation, images, lambda epoch: state)
    found = values(subject, "baselines")
    before = {name: t / 2 for name, t in state.items()}
    untrained = Subject(training, tiny.evaluation, images, lambda epoch: before)
    untrained.points = subject.points  # those found against the trained one
    layers = values(untrained, "layers")
    assert found["layers"]["clean"] == layers["clean"]["ncc_accuracy"]
    assert found["layers"]["pgd"] == layers["pgd"]["ncc_accuracy"]
    x, y = subject.x.flatten(1).double().numpy(), subject.y.numpy()
    centres = np.stack([x[y == c].mean(0) for c in range(10)])
    nearest = ((x[:, None] - centres) ** 2).sum(2).argmin(1)
    assert found["pixels"]["clean"] == pytest.approx((nearest == y).mean())


def test_generalisation_ends_in_what_the_geometry_says_of_test_points(subject):
    along, geometry = values(subject, "generalisation"), values(subject, "geometry")
    assert along["epochs"] == subject.training.snapshots()
    for kind in ("test", "test_pgd"):
        end = {name: curve[-1] for name, curve in along[kind].items()}
        assert end.items() <= geometry[kind].items()


def test_the_trajectory_knows_the_outputs(subject):
    found, geometry = values(subject, "trajectory"), values(subject, "geometry")
    for kind in ("clean", "pgd", "gauss", "targeted"):
        for name in ("kl", "logit_norm"):
            assert found[kind][name][-1] == geometry[kind][name]
    assert found["clean"]["kl"] == [0] * len(found["epochs"])


def test_the_sweep_keeps_the_changed_points_of_each_radius(subject):
    sweep, changed = values(subject, "sweep"), values(subject, "changed")
    at = sweep["eps"].index(subject.attack.eps)
    for group in ("pgd", "scatter", "scatter_in_span"):
        kept = {name: curve[at] for name, curve in sweep["changed"][group].items()}
        assert kept["share"] == changed[group]["share"]
        assert kept["nc1"] == changed[group]["nc1"]
        for name in ("angle", "length"):
            expected = np.nanmean(np.array(changed[group][name], float))
            assert kept[name] == pytest.approx(expected, rel=1e-5)
