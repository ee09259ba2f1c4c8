"""Leaping, layers and sweeps on cases where the answer is known; measurements in parts."""

import base64
import io
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch._subclasses import FakeTensorMode

from rnc import measure, nearest_class_centre, pgd, progress, simplex_etf, surveys
from rnc.models import features
from rnc.study import data
from rnc.study.measurements import MEASUREMENTS, Parts, Subject, plain, standard, thumbnails
from rnc.study.measurements.drawing import Drawing
from rnc.study.measurements.subject import attacked, perturbations
from rnc.study.settings import Evaluation, Study
from rnc.study.training import build, reproducible, train
from rnc.surveys import layerwise, measures, read_out


@pytest.fixture(scope="module")
def images():
    return data.load("digits")


def one_hot(labels):
    return torch.nn.functional.one_hot(labels, 10).double()


def reads(**points):
    """Logits and features as `read_out` gives them, from labels and features."""
    return {name: (one_hot(labels), h) for name, (labels, h) in points.items()}


def test_points_that_leap_to_vertices_have_no_leap_angle(images):
    vertices = simplex_etf(10, 20)
    y = images.y
    elsewhere = (y + 3) % 10
    target = (y + 1) % 10
    landed = standard.where_points_land(
        reads(
            clean=(y, vertices[y]),
            pgd=(elsewhere, vertices[elsewhere]),
            targeted=(target, vertices[target]),
        ),
        y,
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
    landed = standard.where_points_land(reads(clean=stay, pgd=stay, targeted=stay), y)
    assert landed["alignment"].max() < 1e-10
    assert landed["targeted_success"] == 0
    assert torch.allclose(landed["targeted_angle"], torch.full((10,), math.acos(-1 / 9)).double())


def test_a_class_that_nobody_is_sorted_into_has_no_angle(images):
    vertices, y = simplex_etf(10, 20), images.y
    moved = torch.where(y == 4, 5, y)
    landed = standard.where_points_land(
        reads(clean=(y, vertices[y]), pgd=(moved, vertices[moved]), targeted=(y, vertices[y])), y
    )
    assert landed["leap"].isnan().tolist() == [c == 4 for c in range(10)]
    assert plain(landed)["leap"][4] is None


@pytest.fixture
def subject(images):
    """An untrained network of two channels, measured with its initial weights throughout."""
    return subject_at(images, Study.of(width=2, epochs=1).evaluation)


def subject_at(images, evaluation):
    training = Study.of(width=2, epochs=1).training("st")
    state = build(training, images).state_dict()
    return Subject(training, evaluation, images, lambda epoch: state)


def values(subject, name):
    return plain(MEASUREMENTS[name].function(subject, Parts()))


def test_layers_agree_with_one_layer_at_a_time(subject):
    result, model, y = values(subject, "layers"), subject.model, subject.y
    assert result["names"] == list(model.layers)
    for i, name in enumerate(model.layers):
        h = {
            kind: features(model, subject.points[kind], [name])[1][name]
            for kind in result
            if kind != "names"
        }
        collapse = {kind: measure([(found, y)], 10) for kind, found in h.items()}
        for kind, c in collapse.items():
            assert result[kind]["nc1"][i] == pytest.approx(c.nc1, rel=1e-5)
            assert result[kind]["nc2_angles"][i] == pytest.approx(c.nc2_angles, rel=1e-5)
            # NCC centres are the clean means, also for attacked points
            right = nearest_class_centre(h[kind], collapse["clean"].means) == y
            assert result[kind]["ncc_accuracy"][i] == pytest.approx(float(right.double().mean()))


def test_radius_zero_gives_the_clean_values(images):
    evaluation = Study.of(eps=0).evaluation
    subject = subject_at(images, evaluation)
    end = values(subject, "trajectory")
    for name, curve in end["clean"].items():
        assert end["pgd"][name] == curve, name
        assert end["gauss"][name] == curve, name
    assert end["alignment"][-1] == pytest.approx(0, abs=1e-6)
    sweep, layers = values(subject, "sweep"), values(subject, "layers")
    assert sweep["eps"][0] == 0
    assert sweep["nc1"][0] == pytest.approx(end["clean"]["nc1"][-1])
    assert layers["clean"] == layers["pgd"]
    test = values(subject, "test")
    assert test["clean"] == test["pgd"]


def test_sweep_and_drawing_follow_the_radius(images):
    evaluation = Evaluation(Study.of().evaluation.attack.at_radius(5))  # not one of the sweep
    subject = subject_at(images, evaluation)
    clean, pgd = subject.read["clean"], subject.read["pgd"]
    drawing, sweep = Drawing(subject.read, subject.y), values(subject, "sweep")
    assert sweep["eps"] == sorted({*standard.SWEEP["linf"], 5})
    assert len(set(sweep["nc1"])) == len(sweep["eps"])
    drawn, at = sweep["drawing"], sweep["eps"].index(5)
    assert len(drawn["points"]) == len(drawn["predicted_means"]) == len(sweep["eps"])
    # the frames are those points that the rest of the record measures
    assert drawn["predicted"][0] == clean[0].argmax(1)[drawing.drawn].tolist()
    assert drawn["predicted"][at] == pgd[0].argmax(1)[drawing.drawn].tolist()
    assert sweep["accuracy"][at] == float((pgd[0].argmax(1) == subject.y).double().mean())


@pytest.mark.parametrize("model", ["vgg11", "preactresnet18"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_radii_that_are_measured_already_are_not_attacked_again(model, norm, monkeypatch):
    """They hold bitwise what another attack at that radius finds."""
    some = data.load("digits", per_class=20)
    # torch's convolutions on a CPU spoil memory in trainings of narrower residual networks
    width = {"vgg11": 2, "preactresnet18": 8}[model]
    study = Study.of(model=model, norm=norm, width=width, epochs=1, steps=2, per_class=20)
    training = replace(study.training("at"), batch=50)
    with reproducible(torch.device("cpu")):
        weights = train(training, some).model
        subject = Subject(training, study.evaluation, some, lambda epoch: weights)
        kept, attack = subject.read, study.evaluation.attack
        for eps, kind in ((0, "clean"), (attack.eps, "pgd")):
            noise = torch.Generator().manual_seed(0)
            x = attacked(subject.model, subject.x, subject.y, attack.at_radius(eps), noise)
            assert all(map(torch.equal, read_out(subject.model, x), kept[kind]))
    sizes, find = [], standard.attacked

    def counted(model, x, y, attack, noise):
        sizes.append(attack.eps)
        return find(model, x, y, attack, noise)

    monkeypatch.setattr(standard, "attacked", counted)
    assert values(subject, "sweep")["eps"] == list(standard.SWEEP[norm])
    assert sizes == [eps for eps in standard.SWEEP[norm] if eps not in (0, attack.eps)]


def test_the_drawing_keeps_distances_between_its_means(images):
    vertices, y = simplex_etf(10, 20), images.y
    stay = (y, vertices[y])
    read = reads(clean=stay, pgd=stay)
    drawing = Drawing(read, y)
    frame, flat = drawing.frame(*read["clean"]), drawing.still["vertices"].numpy()
    distances = [np.linalg.norm(flat[i] - flat[j]) for i in range(4) for j in range(i)]
    assert np.ptp(distances) < 1e-9  # a regular tetrahedron
    assert np.linalg.norm(flat, axis=1) == pytest.approx(np.ones(4))
    assert set(drawing.still["true"].tolist()) == set(drawing.still["classes"])
    # every point is at its vertex, and so is each predicted mean
    assert frame["points"][::50].numpy() == pytest.approx(flat, abs=1e-3)
    assert frame["predicted_means"].numpy() == pytest.approx(flat, abs=1e-3)


def opened(sheet, size, columns, count):
    """The images in a sheet as bytes, count x H x W x 3."""
    whole = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet))).convert("RGB"))
    height, width = size
    places = (divmod(number, columns) for number in range(count))
    return np.stack(
        [whole[r * height : (r + 1) * height, c * width : (c + 1) * width] for r, c in places]
    )


def as_bytes(x):
    return (x.permute(0, 2, 3, 1) * 255).round().byte().numpy()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_thumbnails_are_the_images_and_the_very_attack_of_the_drawing(images, norm):
    evaluation = Study.of(norm=norm).evaluation
    subject = subject_at(images, evaluation)
    kept, sweep = values(subject, "thumbnails"), values(subject, "sweep")
    points, drawing = torch.tensor(kept["points"]), sweep["drawing"]
    y = subject.y[points]
    assert y.tolist() == drawing["true"]
    x = subject.x[points]
    assert kept["predicted"] == drawing["predicted"][sweep["eps"].index(kept["eps"])]
    # found again from nothing but the settings
    attack = evaluation.attack
    noise = torch.Generator().manual_seed(0)
    attacked = pgd(subject.model, subject.x, subject.y, generator=noise, **attack.size)[points]
    difference = attacked - x
    radius = difference.abs().max() if norm == "linf" else difference.flatten(1).norm(dim=1).max()
    assert 0.9 * attack.eps / 255 < radius <= attack.eps / 255 + 1e-6
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    where = kept["size"], kept["columns"], len(points)
    assert (opened(kept["clean"], *where) == as_bytes(x)).all()  # digits are small: no loss
    lossy = opened(kept["attacked"], *where)
    assert abs(lossy - as_bytes(attacked).astype(int)).mean() < 6
    assert len(kept["attacked"]) * 3 / 4 <= thumbnails.LIGHT
    shades = opened(kept["perturbation"], *where)
    assert set(np.unique(shades)) <= {0, 64, 128, 191, 255}
    exact = as_bytes((0.5 + 20 * difference).clamp(0, 1)).astype(int)
    assert abs(shades - exact).max() <= 32  # half a shade


def test_a_sheet_that_would_be_large_loses_a_little_and_grey_images_become_coloured_ones():
    generator = torch.Generator().manual_seed(0)
    large = torch.rand(43, 3, 32, 32, generator=generator)
    exact = base64.b64decode(thumbnails._webp(thumbnails.sheet(large), lossless=True))
    light = thumbnails._light(thumbnails.sheet(large))
    assert len(base64.b64decode(light)) < len(exact)
    assert opened(light, (32, 32), 20, 43).shape == (43, 32, 32, 3)
    grey = torch.rand(3, 1, 4, 6, generator=generator)
    found = opened(thumbnails._light(thumbnails.sheet(grey)), (4, 6), 20, 3)
    assert (found == as_bytes(grey.expand(-1, 3, -1, -1))).all()


@pytest.mark.parametrize("k", [2, 3])
def test_few_classes_are_drawn_in_three_dimensions_too(k):
    y = torch.arange(6 * k) % k
    h = simplex_etf(k, 8)[y]
    drawing = Drawing({"clean": (h[:, :k], h), "pgd": (h[:, :k], h)}, y)
    assert drawing.still["vertices"].shape == (k, 3)
    assert drawing.frame(torch.eye(k)[y], h)["points"].shape == (6 * k, 3)


@pytest.fixture
def moving(images):
    """A network whose weights differ at each of its snapshots."""
    training = Study.of(width=2, epochs=3).training("st")

    def weights(epoch):
        return build(replace(training, seed=epoch), images).state_dict()

    return Subject(training, Study.of(steps=2).evaluation, images, weights)


def test_the_journey_ends_where_the_sweep_begins(moving):
    journey, drawing = values(moving, "journey"), values(moving, "sweep")["drawing"]
    assert journey["epochs"] == [0, 1, 2, 3]
    for name in ("classes", "true"):
        assert journey[name] == drawing[name]
    assert journey["points"][-1] == drawing["points"][0]
    assert journey["predicted"][-1] == drawing["predicted"][0]
    assert np.array(journey["means"][-1]) == pytest.approx(np.array(drawing["vertices"]), abs=1e-3)
    assert all(a != b for a, b in itertools.pairwise(journey["points"]))


def test_moments_of_the_journey_are_those_of_the_features_on_the_last_axes(moving):
    """Formed anew: axes from the means by QR, and their turn from what the record draws."""
    journey, classes = values(moving, "journey"), values(moving, "journey")["classes"]

    def means_and_points(epoch):
        h = read_out(moving.at(epoch).model, moving.x)[1].double().numpy()
        means = np.stack([h[moving.y == c].mean(0) for c in classes])
        centre = means.mean(0)
        unit = np.linalg.norm(means - centre, axis=1).mean()
        drawn = np.concatenate([h[moving.y == c][:50] for c in classes])
        return (means - centre) / unit, (drawn - centre) / unit

    last, _ = means_and_points(3)
    axes = np.linalg.qr(last[:3].T)[0]  # 16 x 3, of the span in which the last means are
    turn = np.linalg.lstsq(last @ axes, np.array(journey["means"][-1]), rcond=None)[0]
    assert turn.T @ turn == pytest.approx(np.eye(3), abs=0.01)  # of numbers with three digits
    u, _, v = np.linalg.svd(turn)
    for at, epoch in enumerate(journey["epochs"]):
        means, points = means_and_points(epoch)
        assert np.array(journey["means"][at]) == pytest.approx(means @ axes @ u @ v, abs=0.01)
        assert np.array(journey["points"][at]) == pytest.approx(points @ axes @ u @ v, abs=0.02)


def test_a_moment_knows_no_size_place_or_turn_that_the_axes_share(images, generator):
    h = (
        torch.randn(500, 20, generator=generator, dtype=torch.float64)
        + simplex_etf(10, 20)[images.y]
    )
    logits = one_hot(images.y)
    drawing = Drawing({"clean": (logits, h), "pgd": (logits, h)}, images.y)
    eye = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(drawing.axes @ drawing.axes.T, eye)
    here = drawing.moment(logits, h)
    # where it stands and how large it is says nothing; nor do directions off the axes
    off = torch.randn(500, 20, generator=generator, dtype=torch.float64)
    off -= off @ drawing.axes.T @ drawing.axes
    for c in drawing.classes:
        off[images.y == c] -= off[images.y == c].mean(0)
    there = drawing.moment(logits, 7 * (h + off) + 3)
    for name in ("points", "means"):
        torch.testing.assert_close(there[name], here[name], atol=0.002, rtol=0)
    turned = torch.linalg.qr(torch.randn(20, 20, generator=generator, dtype=torch.float64))[0]
    anew = Drawing({"clean": (logits, h @ turned), "pgd": (logits, h @ turned)}, images.y)
    for name in ("points", "means"):
        found = anew.moment(logits, h @ turned)[name]
        torch.testing.assert_close(found, here[name], atol=0.002, rtol=0)


def test_means_that_point_elsewhere_are_short(images):
    """The unit is their length in all dimensions, so that what the axes miss is missing."""
    logits, vertices = one_hot(images.y), simplex_etf(10, 20)
    drawing = Drawing(
        {"clean": (logits, vertices[images.y]), "pgd": (logits, vertices[images.y])}, images.y
    )
    elsewhere = torch.zeros(10, 20, dtype=torch.float64)
    elsewhere[list(drawing.classes), -4:] = torch.eye(4, dtype=torch.float64)
    elsewhere -= elsewhere @ drawing.axes.T @ drawing.axes
    found = drawing.moment(logits, elsewhere[images.y])
    assert found["means"].abs().max() < 0.002


def test_the_measured_points_are_the_first_of_each_class(images):
    evaluation = replace(Study.of().evaluation, per_class=7)
    some, whole = subject_at(images, evaluation), subject_at(images, Study.of().evaluation)
    assert torch.bincount(some.y).tolist() == [7] * 10
    assert torch.equal(some.x[7:14], whole.x[whole.y == 1][:7])
    # the network is normalised as it was trained, by all of its images
    assert torch.equal(some.model.normalise.mean, whole.model.normalise.mean)
    few = values(some, "trajectory")["clean"]["nc1"][-1]
    expected = measure([(read_out(some.model, some.x)[1], some.y)], 10).nc1
    assert few == pytest.approx(expected, rel=1e-5)
    # beside it stand the clean and the attacked points of all
    end = values(whole, "trajectory")
    beside = values(some, "everything")
    assert beside["clean"]["nc1"] == end["clean"]["nc1"][-1] != few
    assert beside["pgd"]["accuracy"] == end["pgd"]["accuracy"][-1]


def test_attacks_of_the_evaluation_run_in_float32_whatever_trained(images):
    """A weak attack must not come from rounding."""
    seen = []

    class Watched(torch.nn.Module):
        def forward(self, x):
            seen.append(torch.is_autocast_enabled("cpu"))
            return x.flatten(1)[:, :10]

    x, y = images.x[::50], images.y[::50]
    perturbations(Watched(), x, y, 10, Study.of(precision="bfloat16").evaluation.attack)
    assert seen
    assert not any(seen)


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_stopped_in_its_middle_a_measurement_goes_on_to_the_same(images, name, monkeypatch):
    """As often as it has parts; each of them is done once."""
    evaluation = Study.of(steps=1).evaluation
    whole = values(subject_at(images, evaluation), name)
    kept, runs = {}, 0

    class Stop(Exception):
        pass

    def save(done):
        kept.clear()
        kept.update(done)
        raise Stop

    while True:
        runs += 1
        try:
            again = plain(
                MEASUREMENTS[name].function(subject_at(images, evaluation), Parts(kept, save))
            )
            break
        except Stop:
            assert len(kept) == runs
    assert again == whole
    assert runs > {"trajectory": 1, "sweep": 8, "stronger": 10}.get(name, 0)


@pytest.mark.parametrize("name", [name for name in MEASUREMENTS if name != "autoattack"])
def test_points_are_measured_in_batches_of_the_devices_size(images, name, monkeypatch):
    """All of them, so that on a GPU none is small; AutoAttack takes ever fewer by itself."""
    monkeypatch.setattr(surveys, "BATCH", {"cpu": 50})
    subject = subject_at(images, replace(Study.of(steps=1).evaluation, per_class=10))
    sizes = set()

    def seen(module, given):
        if isinstance(module, torch.nn.Conv2d):
            sizes.add(len(given[0]))

    hook = torch.nn.modules.module.register_module_forward_pre_hook(seen)
    try:
        values(subject, name)
    finally:
        hook.remove()
    assert sizes == {50}


def test_on_a_gpu_batches_are_larger():
    with FakeTensorMode():
        sizes = [surveys.batch_size(torch.empty(3, device=device)) for device in ("cpu", "cuda")]
    assert sizes == [500, 2500]


def test_a_budget_stops_a_measurement_between_its_parts(subject):
    with progress.until(0), pytest.raises(progress.OutOfTime, match="radius 0 of 8"):
        values(subject, "sweep")


def test_noise_and_attacks_start_anew_for_each_network(subject):
    model, x, y = subject.model, subject.x, subject.y
    first = perturbations(model, x, y, 10, subject.attack)
    again = perturbations(model, x, y, 10, subject.attack)
    assert all(torch.equal(first[kind], again[kind]) for kind in first)
    noise = torch.Generator().manual_seed(0)
    assert torch.equal(attacked(model, x, y, subject.attack, noise), first["pgd"])


def test_rows_of_the_trajectory_are_the_measures_of_each_kind_of_points(subject):
    row = values(subject, "trajectory")
    weight, (logits, h) = subject.model.classifier.weight, subject.read["pgd"]
    centres = measures(*subject.read["clean"], subject.y)[1]
    pgd = plain(measures(logits, h, subject.y, weight, centres)[0])
    end = {name: curve[-1] for name, curve in row["pgd"].items()}
    p, q = (of.double().softmax(1).numpy() for of in (subject.read["clean"][0], logits))
    assert end.pop("kl") == pytest.approx((p * np.log(p / q)).sum(1).mean(), rel=1e-4)
    lengths = np.linalg.norm(logits - logits.mean(1, keepdim=True), axis=1)
    assert end.pop("logit_norm") == pytest.approx(lengths.mean(), rel=1e-4)
    assert end == pgd
    angles = plain(standard.where_points_land(subject.read, subject.y))
    assert row["leap"][-1] == pytest.approx(np.mean([a for a in angles["leap"] if a]), rel=1e-5)


def test_layerwise_takes_any_kinds_of_points(subject):
    """The first kind gives the centres."""
    points = {"noise": subject.points["gauss"], "clean": subject.x}
    result = layerwise(subject.model, ["penultimate"], points, subject.y)
    h = {kind: read_out(subject.model, x)[1] for kind, x in points.items()}
    centres = measure([(h["noise"], subject.y)], 10).means
    right = nearest_class_centre(h["clean"], centres) == subject.y
    assert result["clean"]["ncc_accuracy"] == [float(right.double().mean())]
