"""Collapse measures against the textbook in float64 NumPy, and the properties they must have."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestCentroid

from rnc import (
    angles_between,
    measure,
    nearest_class_centre,
    simplex_alignment,
    simplex_deviation,
    simplex_etf,
)
from rnc.collapse import ncc_logits


def textbook(h, y, k, w):
    """The definitions, matrix by matrix: D x D covariances and a pseudo-inverse."""
    n, d = h.shape
    means = np.stack([h[y == c].mean(0) for c in range(k)])
    centred = means - h.mean(0)
    within = np.zeros((d, d))
    for point, label in zip(h, y, strict=True):
        within += np.outer(point - means[label], point - means[label]) / n
    between = sum(np.outer(m, m) for m in centred) / k
    # the rank is at most K - 1; what rounding leaves of the K-th value is not inverted
    values, vectors = np.linalg.eigh(between)
    kept = np.argsort(values)[::-1][: k - 1]
    kept = kept[values[kept] > values.max() * d * np.finfo(float).eps]
    inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T

    def deviation(rows):
        norms = np.linalg.norm(rows, axis=1)
        cosines = [
            rows[i] @ rows[j] / norms[i] / norms[j] for i in range(k) for j in range(k) if i != j
        ]
        off = np.abs(np.array(cosines) + 1 / (k - 1)).mean()
        return norms.std(ddof=1) / norms.mean(), off if d >= k - 1 else math.nan

    dual = w.T / np.linalg.norm(w) - centred.T / np.linalg.norm(centred)
    return {
        "nc1": np.trace(within @ inverse),
        "nc2_norms": deviation(centred)[0],
        "nc2_angles": deviation(centred)[1],
        "nc2_norms_w": deviation(w)[0],
        "nc2_angles_w": deviation(w)[1],
        "nc3": np.linalg.norm(dual) ** 2,
        "within": np.trace(within),
        "between": np.trace(between),
    }


def example(k, d, counts, spread, seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(k), counts)
    h = rng.normal(size=(k, d))[y] + spread * rng.normal(size=(len(y), d))
    return h, y, rng.normal(size=(k, d))


@pytest.mark.parametrize(
    ("k", "d", "counts", "spread"),
    [
        pytest.param(10, 64, 50, 0.5, id="ordinary"),
        pytest.param(10, 64, 50, 3e-4, id="NC1 near 1e-6"),
        pytest.param(5, 20, [3, 50, 7, 200, 11], 0.5, id="imbalanced"),
        pytest.param(12, 5, 30, 0.5, id="K > D"),
        pytest.param(4, 300, 6, 0.5, id="N < D"),
        pytest.param(2, 3, 9, 1.0, id="two classes"),
    ],
)
def test_measures_agree_with_the_textbook(k, d, counts, spread):
    h, y, w = example(k, d, counts, spread)
    measured = measure([(torch.tensor(h), torch.tensor(y))], k, torch.tensor(w))
    for name, value in textbook(h, y, k, w).items():
        assert getattr(measured, name) == pytest.approx(value, rel=1e-6, nan_ok=True), name


def test_the_small_example_is_as_small_as_its_name_says():
    h, y, w = example(10, 64, 50, 3e-4)
    assert 1e-7 < textbook(h, y, 10, w)["nc1"] < 1e-5


def test_float32_features_are_measured_in_float64():
    h, y, w = example(10, 64, 50, 3e-4)
    h = h.astype(np.float32)
    measured = measure([(torch.tensor(h), torch.tensor(y))], 10)
    expected = textbook(h.astype(np.float64), y, 10, w)["nc1"]
    assert measured.nc1 == pytest.approx(expected, rel=1e-6)


def test_a_stream_in_any_batches_gives_the_same():
    h, y, _ = example(10, 64, 50, 0.5)
    order = np.random.default_rng(1).permutation(len(y))
    h, y = torch.tensor(h[order]), torch.tensor(y[order])
    whole = measure([(h, y)], 10)
    parts = measure(list(zip(h.split(7), y.split(7), strict=True)), 10)
    for name in ("nc1", "nc2_norms", "nc2_angles", "within", "between"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-12)


@given(st.integers(2, 6), st.integers(2, 12), st.integers(0, 10**6), st.floats(1e-3, 1e3))
@settings(max_examples=40, deadline=None)
def test_rotation_shift_and_scale_change_nothing(k, d, seed, scale):
    h, y, w = example(k, d, 8, 0.5, seed)
    rng = np.random.default_rng(seed + 1)
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    moved = scale * (h @ rotation) + rng.normal(size=d) * 10 * scale
    y = torch.tensor(y)
    before = measure([(torch.tensor(h), y)], k, torch.tensor(w))
    after = measure([(torch.tensor(moved), y)], k, torch.tensor(w @ rotation))
    for name in ("nc1", "nc2_norms", "nc2_angles", "nc2_norms_w", "nc2_angles_w", "nc3"):
        expected = pytest.approx(getattr(before, name), rel=1e-6, abs=1e-9, nan_ok=True)
        assert getattr(after, name) == expected, name


@given(st.integers(2, 12), st.integers(0, 20), st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_an_exact_simplex_is_complete_collapse(k, more, seed):
    g = torch.Generator().manual_seed(seed)
    vertices = simplex_etf(k, k - 1 + more, g)
    y = torch.arange(k).repeat(3)
    shift = torch.randn(k - 1 + more, generator=g, dtype=torch.float64)
    c = measure([(vertices[y] + shift, y)], k, weight=5 * vertices)
    values = (c.nc1, c.nc2_norms, c.nc2_angles, c.nc2_norms_w, c.nc2_angles_w, c.nc3)
    assert max(values) < 1e-12
    assert (nearest_class_centre(vertices[y] + shift, c.means) == y).all()


def test_simplex_etf_needs_room():
    with pytest.raises(ValueError, match="dim must be at least 9"):
        simplex_etf(10, 8)


def test_labels_of_any_integer_type_and_empty_batches_are_taken():
    h, y, _ = example(3, 4, 10, 0.5)
    h, y = torch.tensor(h), torch.tensor(y)
    expected = measure([(h, y)], 3).nc1
    batches = [(h[:0], y[:0]), (h[:7], y[:7].int()), (h[7:], y[7:].to(torch.uint8))]
    assert measure(batches, 3).nc1 == pytest.approx(expected, rel=1e-12)


def test_features_of_any_shape_are_flattened():
    h, y, _ = example(3, 24, 10, 0.5)
    flat = measure([(torch.tensor(h), torch.tensor(y))], 3)
    maps = measure([(torch.tensor(h).view(-1, 2, 3, 4), torch.tensor(y))], 3)
    assert maps.nc1 == flat.nc1


def test_nearest_class_centre_agrees_with_scikit_learn():
    h, y, _ = example(7, 20, 30, 2.0)
    library = NearestCentroid().fit(h, y)
    mine = nearest_class_centre(torch.tensor(h), torch.tensor(library.centroids_))
    assert (mine.numpy() == library.predict(h)).all()


def test_ncc_logits_are_half_the_squared_distances_but_for_a_constant():
    h, y, _ = example(7, 20, 30, 2.0)
    h = torch.tensor(h)
    means = torch.stack([h[torch.tensor(y) == c].mean(0) for c in range(7)])
    logits = ncc_logits(h, means)
    distances = torch.cdist(h, means).square()
    rest = logits + distances / 2
    assert torch.allclose(rest, rest[:, :1].expand(-1, 7))
    assert torch.equal(logits.argmax(1), nearest_class_centre(h, means))
    assert torch.equal(ncc_logits(h.view(-1, 2, 10), means), logits)
    assert ncc_logits(h.float(), means).dtype == torch.float32


def test_a_class_without_a_mean_has_no_logit_and_no_gradient():
    means = torch.tensor([[0.0, 0.0], [math.nan, math.nan], [4.0, 0.0]])
    points = torch.tensor([[0.1, 0.0], [2.5, 0.0]], requires_grad=True)
    logits = ncc_logits(points, means)
    assert logits[:, 1].tolist() == [-math.inf] * 2
    assert logits.argmax(1).tolist() == nearest_class_centre(points, means).tolist()
    logits[:, [0, 2]].sum().backward()
    assert torch.equal(points.grad, torch.zeros(2, 2))  # the two vertices pull apart


def test_a_class_without_a_mean_is_never_nearest():
    means = torch.tensor([[0.0, 0.0], [math.nan, math.nan], [4.0, 0.0]])
    points = torch.tensor([[0.1, 0.0], [2.5, 0.0]])
    assert nearest_class_centre(points, means).tolist() == [0, 2]


def test_angles_are_exact_for_tiny_right_and_straight_angles():
    a = torch.tensor([[1.0, 0.0]] * 3, dtype=torch.float64)
    b = torch.tensor([[1.0, 1e-9], [0.0, 3.0], [-2.0, 0.0]], dtype=torch.float64)
    expected = torch.tensor([1e-9, math.pi / 2, math.pi], dtype=torch.float64)
    assert torch.allclose(angles_between(a, b), expected, rtol=1e-9, atol=0)


def test_aligned_simplices_have_no_angle_and_permuted_ones_that_between_vertices(generator):
    vertices = simplex_etf(10, 30, generator)
    assert simplex_alignment(vertices, 3 * vertices + 1).max() < 1e-12
    swapped = simplex_alignment(vertices, vertices.roll(1, 0))
    assert torch.allclose(swapped, torch.full((10,), math.acos(-1 / 9), dtype=torch.float64))


def test_a_missing_class_leaves_the_other_angles(generator):
    vertices = simplex_etf(4, 3, generator)
    other = vertices.clone()
    other[2] = math.nan
    angles = simplex_alignment(vertices, other)
    assert angles[2].isnan()
    assert angles[[0, 1, 3]].max() < 1e-12


def test_deviation_of_orthogonal_vectors_is_known():
    norms, angles = simplex_deviation(torch.eye(4))
    assert norms == 0
    assert angles == pytest.approx(1 / 3)


def test_where_no_simplex_exists_no_angle_is_measured(generator):
    """Of K vectors in K - 2 dimensions; in K - 1 there is one."""
    h = torch.randn(50, 5, generator=generator, dtype=torch.float64)
    y = torch.arange(5).repeat(10)
    few, enough = (measure([(h[:, :d], y)], 5, h[:5, :d]) for d in (3, 4))
    assert math.isnan(few.nc2_angles)
    assert math.isnan(few.nc2_angles_w)
    assert math.isfinite(few.nc1 + few.nc2_norms + few.nc3)
    assert math.isfinite(enough.nc2_angles + enough.nc2_angles_w)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "no points"),
        ([(torch.randn(4, 3), torch.tensor([0, 0, 2, 2]))], r"1 of 3 have none, such as class 1"),
        ([(torch.randn(2, 3), torch.tensor([0, 3]))], r"labels must be in 0\.\.2; got 0\.\.3"),
        ([(torch.randn(2, 3), torch.tensor([0, -1]))], r"got -1\.\.0"),
        ([(torch.randn(2, 3), torch.tensor([0]))], "one per point, 2"),
        ([(torch.full((3, 2), math.inf), torch.arange(3))], "finite"),
        (iter([(torch.randn(3, 2), torch.arange(3))]), "read twice"),
    ],
)
def test_bad_input_is_named(batches, message):
    with pytest.raises(ValueError, match=message):
        measure(batches, 3)


def test_a_weight_of_the_wrong_shape_is_named():
    with pytest.raises(ValueError, match="weight must be 3 x 2.*got 2 x 3"):
        measure([(torch.randn(6, 2), torch.arange(6) % 3)], 3, weight=torch.randn(2, 3))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_layer_of_65536_features_fits_in_two_gibibytes():
    # the peak of the process itself: what `resource` gives begins at that of its parent
    code = """
import torch
from rnc import measure
y = torch.arange(2000) % 10
h = torch.randn(10, 65536)[y] + torch.randn(2000, 65536)
assert measure([(h, y)], 10).nc1 > 0
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) * 1024 < 2 * 2**30
