"""What NC1 to NC4 leave open about the geometry of features: spectra, directions, subspaces.

All in float64, from features and class means that fit in memory; `rnc.collapse` has the means.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cdnv(features: Tensor, labels: Tensor, means: Tensor) -> float:
    """Class-distance normalised variance (Galanti et al. 2022), the mean over pairs of classes of

        (Var_i + Var_j) / (2 d(mu_i, mu_j)^2),

    d being the distance and Var_c its mean square from the mean of a class. Unlike NC1 it
    inverts no covariance, so that directions in which the means hardly differ do not rule it.

    Args:
        features: N x ... (flattened to N x D).
        labels: N, in 0..K-1.
        means: class means, K x D.
    """
    means = means.double()
    squares = (features.flatten(1).double() - means[labels]).square().sum(1)
    counts = torch.bincount(labels, minlength=len(means))
    variance = torch.zeros_like(means[:, 0]).index_add_(0, labels, squares) / counts
    distances = torch.cdist(means, means, compute_mode="donot_use_mm_for_euclid_dist").square()
    pairs = ~torch.eye(len(means), dtype=torch.bool, device=means.device)
    return float(((variance[:, None] + variance) / (2 * distances))[pairs].mean())


def between_spectrum(means: Tensor) -> Tensor:
    """The K - 1 leading eigenvalues of Sigma_B as shares of their sum, largest first; all are
    1/(K - 1) where the means are a simplex, whatever its size.

    Args:
        means: class means, K x D, D >= K - 1.
    """
    singular = torch.linalg.svdvals(_centred(means))[: len(means) - 1].square()
    return singular / singular.sum()


def effective_rank(shares: Tensor) -> float:
    """Of a spectrum that sums to 1, the exponential of its entropy (Roy and Vetterli 2007)."""
    return float(torch.special.entr(shares).sum().exp())


def principal_angles(a: Tensor, b: Tensor) -> Tensor:
    """Angles between the subspaces that two sets of class means span, in radians, smallest first.

    Args:
        a, b: class means, K x D, D >= K - 1; each is centred.

    Returns:
        K - 1 angles in [0, pi/2], float64.
    """
    span_a, span_b = (
        torch.linalg.svd(_centred(means), full_matrices=False)[2][: len(means) - 1]
        for means in (a, b)
    )
    cosines = span_a @ span_b.T
    # the arc cosine loses small angles, so that those are formed from their sines (Bjorck, Golub)
    sines = torch.linalg.svdvals(span_b - cosines.T @ span_a).flip(0).clamp(max=1)
    cosines = torch.linalg.svdvals(cosines).clamp(max=1)
    return torch.where(sines < math.sqrt(0.5), sines.asin(), cosines.acos())


def self_duality(weight: Tensor, means: Tensor) -> tuple[float, float]:
    """NC3 in two parts that add up to it: of lengths, and of directions.

    With a_c and b_c the lengths of the rows of W and of the centred means M, each matrix scaled
    to norm 1, and t_c the angle between the two rows,

        NC3 = sum_c (a_c - b_c)^2 + sum_c 2 a_c b_c (1 - cos t_c).

    Args:
        weight: rows of the classifier, K x D.
        means: class means, K x D.
    """
    centred, weight = _centred(means), weight.detach().double()
    w, m = weight / weight.norm(), centred / centred.norm()
    a, b = w.norm(dim=1), m.norm(dim=1)
    return float((a - b).square().sum()), float(2 * (a * b - (w * m).sum(1)).sum())


def _centred(means: Tensor) -> Tensor:
    means = means.double()
    return means - means.mean(0)
