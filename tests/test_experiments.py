"""Leaping, layers and sweeps on cases where the answer is known."""

import math

import numpy as np
import pytest
import torch

from rnc import data, experiments, explorer, measure, nearest_class_centre, plots, simplex_etf
from rnc.models import features
from rnc.training import Checkpoint, OutOfTime, build


@pytest.fixture(scope="module")
def images():
    return data.load("digits")


def one_hot(labels):
    return torch.nn.functional.one_hot(labels, 10).double()


def reads(images, **points):
    """Logits and features as `read_out` gives them, from labels and features."""
    return {name: (one_hot(labels), h) for name, (labels, h) in points.items()}


def test_points_that_leap_to_vertices_have_no_leap_angle(images):
    vertices = simplex_etf(10, 20)
    y = images.y
    elsewhere = (y + 3) % 10
    target = (y + 1) % 10
    landed = experiments.leaping(
        images,
        reads(
            images,
            clean=(y, vertices[y]),
            pgd=(elsewhere, vertices[elsewhere]),
            targeted=(target, vertices[target]),
        ),
    )
    assert landed["leap"].max() < 1e-10
    assert landed["targeted_angle"].max() < 1e-10
    assert landed["targeted_success"] == 1
    assert landed["predicted_counts"].tolist() == [50] * 10
    # by true label the means stand at another vertex: that far away
    assert torch.allclose(landed["alignment"], torch.full((10,), math.acos(-1 / 9)).double())
    assert landed["vertex_angle"] == math.acos(-1 / 9)


def test_points_that_stay_are_aligned_and_fail_as_targeted(images):
    vertices, y = simplex_etf(10, 20), images.y
    stay = (y, vertices[y])
    landed = experiments.leaping(images, reads(images, clean=stay, pgd=stay, targeted=stay))
    assert landed["alignment"].max() < 1e-10
    assert landed["targeted_success"] == 0
    assert torch.allclose(landed["targeted_angle"], torch.full((10,), math.acos(-1 / 9)).double())


def test_a_class_that_nobody_is_sorted_into_has_no_angle(images):
    vertices, y = simplex_etf(10, 20), images.y
    moved = torch.where(y == 4, 5, y)
    read = reads(
        images, clean=(y, vertices[y]), pgd=(moved, vertices[moved]), targeted=(y, vertices[y])
    )
    landed = experiments.leaping(images, read)
    assert landed["leap"].isnan().tolist() == [c == 4 for c in range(10)]
    assert experiments.plain(landed)["leap"][4] is None


@pytest.fixture(scope="module")
def network(images):
    from rnc.config import Study

    study = Study.of(width=2, epochs=1)
    return study, build(study.training("st"), images).eval()


def test_layerwise_agrees_with_one_layer_at_a_time(images, network):
    study, model = network
    x = experiments.perturbations(study.training("st"), model, images, study.attack)
    result = experiments.layerwise(model, model.layers, x["clean"], x["pgd"], images.y)
    assert result["names"] == list(model.layers)
    for i, name in enumerate(model.layers):
        clean = features(model, x["clean"], [name])[1][name]
        attacked = features(model, x["pgd"], [name])[1][name]
        c = measure([(clean, images.y)], 10)
        p = measure([(attacked, images.y)], 10)
        assert result["clean"]["nc1"][i] == pytest.approx(c.nc1, rel=1e-6)
        assert result["perturbed"]["nc1"][i] == pytest.approx(p.nc1, rel=1e-6)
        assert result["perturbed"]["nc2_angles"][i] == pytest.approx(p.nc2_angles, rel=1e-6)
        # NCC centres are the clean means, also for attacked points
        right = (nearest_class_centre(attacked, c.means) == images.y).double().mean()
        assert result["perturbed"]["ncc_accuracy"][i] == pytest.approx(float(right))


def test_radius_zero_gives_the_clean_values(images, network):
    study, model = network
    training = study.training("st")
    snapshot = Checkpoint(0, model.state_dict())
    result = experiments.measure_run(
        training, study.attack.at_radius(0), images, [snapshot, snapshot]
    )
    end = result["trajectory"]
    for measure_name, values in end["clean"].items():
        assert end["pgd"][measure_name] == values, measure_name
        assert end["gauss"][measure_name] == values, measure_name
    assert result["sweep"]["eps"][0] == 0
    assert result["sweep"]["nc1"][0] == pytest.approx(end["clean"]["nc1"][-1])
    assert result["layers"]["clean"] == result["layers"]["perturbed"]
    assert end["alignment"][-1] == pytest.approx(0, abs=1e-6)


def test_sweep_and_drawing_follow_the_radius(images, network):
    study, model = network
    training, attack = study.training("st"), study.attack.at_radius(5)  # not one of the sweep
    clean, pgd = (
        experiments.read_out(model, points)
        for name, points in experiments.perturbations(training, model, images, attack).items()
        if name in ("clean", "pgd")
    )
    drawing = experiments.Drawing(images, {"clean": clean, "pgd": pgd})
    sweep = experiments.sweep(training, model, images, attack, drawing)
    assert sweep["eps"] == sorted({*experiments.SWEEP["linf"], 5})
    assert len(set(sweep["nc1"])) == len(sweep["eps"])
    drawn, at = drawing.result(), sweep["eps"].index(5)
    assert len(drawn["points"]) == len(drawn["predicted_means"]) == len(sweep["eps"])
    # the frames are those points that the rest of the record measures
    assert drawn["predicted"][0].tolist() == clean[0].argmax(1)[drawing.drawn].tolist()
    assert drawn["predicted"][at].tolist() == pgd[0].argmax(1)[drawing.drawn].tolist()
    assert sweep["accuracy"][at] == float((pgd[0].argmax(1) == images.y).double().mean())


def test_the_drawing_keeps_distances_between_its_means(images):
    vertices, y = simplex_etf(10, 20), images.y
    stay = (y, vertices[y])
    read = reads(images, clean=stay, pgd=stay)
    drawing = experiments.Drawing(images, read)
    drawing.add(*read["clean"])
    drawn = drawing.result()
    flat = drawn["vertices"].numpy()
    distances = [np.linalg.norm(flat[i] - flat[j]) for i in range(4) for j in range(i)]
    assert np.ptp(distances) < 1e-9  # a regular tetrahedron
    assert np.linalg.norm(flat, axis=1) == pytest.approx(np.ones(4))
    assert set(drawn["true"].tolist()) == set(drawn["classes"])
    # every point is at its vertex, and so is each predicted mean
    assert np.array(drawn["points"][0])[::50] == pytest.approx(flat, abs=1e-3)
    assert np.array(drawn["predicted_means"][0]) == pytest.approx(flat, abs=1e-3)


@pytest.mark.parametrize("k", [2, 3])
def test_few_classes_are_drawn_in_three_dimensions_too(k):
    y = torch.arange(6 * k) % k
    h = simplex_etf(k, 8)[y]
    none = torch.zeros(0)
    few = data.Images(none, y, none, none, tuple("abc"[:k]), (), ())
    drawing = experiments.Drawing(few, {"clean": (h[:, :k], h), "pgd": (h[:, :k], h)})
    drawing.add(torch.eye(k)[y], h)
    record = {
        "classes": list(few.classes),
        "sweep": {"eps": [0]},
        "settings": {"attack": {"eps": 0}},
        "drawing": experiments.plain(drawing.result()),
    }
    assert np.array(record["drawing"]["points"][0]).shape == (6 * k, 3)
    assert explorer.simplex({"ST": record}).data
    assert plots.simplex({"ST": record}).axes


def test_rows_measured_before_are_not_measured_again(images, network):
    study, model = network
    training = study.training("st")
    snapshots = [Checkpoint(epoch, model.state_dict()) for epoch in range(3)]
    rows = {}
    whole = experiments.measure_run(
        training, study.attack, images, snapshots, on_row=rows.__setitem__
    )
    assert list(rows) == [0, 1, 2]
    marked = {0: rows[0] | {"leap": -1.0}}
    again = experiments.measure_run(training, study.attack, images, snapshots, marked)
    assert again["trajectory"]["leap"] == [-1.0, *whole["trajectory"]["leap"][1:]]
    with pytest.raises(OutOfTime, match="before the snapshot 0"):
        experiments.measure_run(training, study.attack, images, snapshots, deadline=0)
