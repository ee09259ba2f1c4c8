"""Optimal features of mixed points when features are free and the classifier is a simplex.

Rows w_1 ... w_K of length m, a simplex, no bias; of a mix of classes a and b with share lambda of
a the feature h minimises

    lambda CE(W h, a) + (1 - lambda) CE(W h, b) + reg/2 |h|^2 .

Its logits are z = kappa (t - p), p = softmax(z), t the shares and kappa = m^2 K / ((K - 1) reg).
The setting is that of Fisher et al. (2024); their theorem was not at hand, this solution is
derived anew.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import wrightomega

from rnc.errors import ParameterError, check_whole

MOST = 700  # its exponential is still a number


def kappa(margin: float, classes: int) -> float:
    """kappa of a margin D of unmixed points: D (e^D + K - 1) / K.

    So one number, measured on mixes of one class, fixes what is predicted of two.

    Args:
        margin: the logit of the own class less any other.
        classes: K.

    Raises:
        ParameterError: a value is not allowed.
    """
    check_whole("classes", classes, 2)
    if not 0 < margin <= MOST:
        raise ParameterError(f"margin must be more than 0 and at most {MOST}; got {margin!r}")
    return margin * (math.exp(margin) + classes - 1) / classes


def check_share(lam: float) -> None:
    """Of the first image in a mix.

    Raises:
        ParameterError: it is not in [0, 1].
    """
    if not 0 <= lam <= 1:  # nan too
        raise ParameterError(f"lambda must be in [0, 1]; got {lam!r}")


def mixed_logits(lam: float, margin: float, classes: int) -> tuple[float, float, float]:
    """Logits of the optimal feature of a mix: of a, of b, and of each other class; with a = b
    they are those of lambda = 1. Their sum is 0.

    With u = kappa p_c the condition on class c is u + log u = kappa t_c - L + log kappa, where L
    is the logarithm of the sum of exponentials: u is Wright's omega function of the right side,
    and L is where the logits sum to 0.

    Args:
        lam: share of a, in [0, 1].
        margin: D of unmixed points, in (0, 700].
        classes: K; for two there are no others, and the third is nan.

    Raises:
        ParameterError: a value is not allowed.
    """
    check_share(lam)
    k, log_k = kappa(margin, classes), math.log(kappa(margin, classes))
    shares, counts = np.array([lam, 1 - lam, 0]), np.array([1, 1, classes - 2])

    def logits(total: float) -> np.ndarray:
        x = k * shares - total + log_k
        u = wrightomega(x)
        # z = kappa t - u; where u is large the other form of it keeps its digits
        return np.where(x < 1, k * shares - u, total - log_k + np.log(np.maximum(u, 1e-300)))

    # L is between log K, of logits of sum 0, and D + log K, for none is above D
    low, high = math.log(classes) - 1, margin + math.log(classes) + 1
    total = brentq(lambda t: counts @ logits(t), low, high, xtol=1e-14, rtol=1e-14)
    a, b, other = (float(z) for z in logits(total))
    return a, b, other if classes > 2 else math.nan


def mixed_features(rows: np.ndarray, a: int, b: int, lam: float, margin: float) -> np.ndarray:
    """The optimal feature of a mix, up to scale, from the rows of a classifier.

    It is W^T (t - p), and the logits are in proportion to t - p.

    Args:
        rows: K x D, centred, at least three classes; a simplex in theory.
        a, b: classes.
        lam, margin: as in `mixed_logits`.
    """
    z = np.full(len(rows), math.nan)
    of_a, of_b, z[:] = mixed_logits(1 if a == b else lam, margin, len(rows))
    z[b], z[a] = of_b, of_a
    return z @ rows
