"""Measures of geometry against formulas written out in numpy, and what they must not depend on."""

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

from rnc import measure, simplex_etf
from rnc.geometry import (
    between_spectrum,
    cdnv,
    effective_rank,
    principal_angles,
    self_duality,
)

K, D, EACH = 5, 12, 30


@pytest.fixture
def points(generator):
    y = torch.arange(K).repeat(EACH)
    centres = torch.randn(K, D, generator=generator)
    return centres[y] + 0.3 * torch.randn(K * EACH, D, generator=generator), y


@pytest.fixture
def means(points):
    h, y = points
    return torch.stack([h[y == c].double().mean(0) for c in range(K)])


@pytest.fixture
def rotation(generator):
    return torch.linalg.qr(torch.randn(D, D, dtype=torch.float64, generator=generator)).Q


def test_cdnv_is_its_formula_and_has_no_unit(points, means, rotation):
    h, y = points
    x, m = h.double().numpy(), means.numpy()
    variance = [((x[y == c] - m[c]) ** 2).sum(1).mean() for c in range(K)]
    pairs = [(i, j) for i in range(K) for j in range(K) if i != j]
    expected = np.mean(
        [(variance[i] + variance[j]) / (2 * ((m[i] - m[j]) ** 2).sum()) for i, j in pairs]
    )
    assert cdnv(h, y, means) == pytest.approx(expected, rel=1e-9)
    turned = 7 * h.double() @ rotation + 100
    assert cdnv(turned, y, 7 * means @ rotation + 100) == pytest.approx(expected, rel=1e-9)


def test_a_simplex_has_a_flat_spectrum_of_full_rank(generator):
    shares = between_spectrum(3 * simplex_etf(K, D, generator) + 5)
    assert shares.tolist() == pytest.approx([1 / (K - 1)] * (K - 1))
    assert effective_rank(shares) == pytest.approx(K - 1)
    assert effective_rank(torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)) == 1


def test_a_spectrum_is_that_of_the_covariance_of_means(means):
    m = means.numpy()
    values = np.linalg.eigvalsh(np.cov(m.T))[::-1][: K - 1]
    shares = between_spectrum(means)
    assert shares.tolist() == pytest.approx(list(values / values.sum()))
    p = values / values.sum()
    assert effective_rank(shares) == pytest.approx(np.exp(-(p * np.log(p)).sum()))


@pytest.mark.parametrize("size", [1e-9, 1e-3, 1.0])
def test_principal_angles_are_scipys_also_when_they_are_small(means, generator, size):
    other = means + size * torch.randn(K, D, dtype=torch.float64, generator=generator)
    centred = [(m - m.mean(0)).T.numpy()[:, : K - 1] for m in (means, other)]  # they span it
    expected = np.sort(subspace_angles(*centred))
    found = principal_angles(means, other)
    assert found.tolist() == pytest.approx(list(expected), rel=1e-4, abs=1e-14)


def test_principal_angles_see_spans_and_nothing_else(means, generator):
    mixed = torch.randn(K, K, dtype=torch.float64, generator=generator) @ (means - means.mean(0))
    assert principal_angles(means, mixed + 4).max() < 1e-7
    axes = torch.eye(D, dtype=torch.float64)
    apart = principal_angles(axes[:K], axes[K : 2 * K])
    assert apart.tolist() == pytest.approx([np.pi / 2] * (K - 1))


def test_self_duality_splits_nc3_and_names_what_is_off(points, means, generator):
    h, y = points
    weight = torch.randn(K, D, generator=generator)
    lengths, directions = self_duality(weight, means)
    assert lengths + directions == pytest.approx(measure([(h, y)], K, weight).nc3, rel=1e-6)
    centred = means - means.mean(0)
    assert self_duality(9 * centred, means) == pytest.approx((0, 0), abs=1e-12)
    longer = centred * torch.tensor([1.0, 2, 1, 1, 1])[:, None]
    lengths, directions = self_duality(longer, means)
    assert lengths > 0.01
    assert directions == pytest.approx(0, abs=1e-12)
