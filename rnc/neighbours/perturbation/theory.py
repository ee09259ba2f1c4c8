"""Perturbation analysis of neural collapse (Tirer, Huang, Niles-Weed 2023).

K classes with n points each. The features H (d x Kn, class after class) are pulled towards given
ones H0, with decays w and u, and Y (K x Kn) is one-hot:

    f = 1/(2Kn) |W H - Y|^2 + w/(2K) |W|^2 + u/(2Kn) |H|^2 + beta/(2Kn) |H - H0|^2

Sigma_W and Sigma_B are the covariances within and between classes, R the ratio of their traces,
L(H) the minimum over W of f without the pull. The flow is dH/dt = -Kn grad L(H); a minimiser of f
is near it at t = 1/beta. From the paper: collapsed minimisers, the flow's monotony, and the
response to the first order in 1/beta (`paper_spectrum`). Ours: the flow's two rates (`rates`), the
factor of each deviation (`attenuation`), the bound on Tr Sigma_B behind `enough_pull`, and the
response at every beta (`full_spectrum`, `own_spectrum`, `other_spectrum`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from rnc.errors import ParameterError, check_number, check_positive, check_whole


@dataclass(frozen=True)
class Problem:
    """Sizes, decays and the strength of the pull.

    Attributes:
        classes, dim, points: K, d, and n of each class.
        w, u: decays of the classifier and of the features.
        beta: strength of the pull; what lies between H0 and H is as expressive as 1/beta.

    Raises:
        ParameterError: names the parameter, its value and what is allowed.
    """

    classes: int
    dim: int
    points: int
    w: float
    u: float
    beta: float

    def __post_init__(self) -> None:
        check_whole("classes", self.classes, 2)
        check_whole("points", self.points, 2)  # a single one has no deviation from its mean
        check_whole("dim", self.dim, 1)
        if self.dim < self.classes:
            raise ParameterError(
                f"dim must be at least {self.classes}, the number of classes; got {self.dim!r}"
            )
        check_number("u", self.u, 0)
        for name in ("w", "beta"):
            check_positive(name, getattr(self, name))

    @property
    def s(self) -> float:
        """sqrt(u/w): rows of the classifier over class means, where features are collapsed."""
        return math.sqrt(self.u / self.w)

    @property
    def c(self) -> float:
        """sqrt(u w): a logit falls short of 1 by so much there."""
        return math.sqrt(self.u * self.w)

    @property
    def rho(self) -> float:
        """Squared length of a class mean there.

        Raises:
            ParameterError: the decays leave no collapsed minimiser other than 0, or none at all.
        """
        if not 0 < self.c < 1:
            raise ParameterError(
                "u must be more than 0 and less than 1/w, or there are no collapsed features; got "
                f"u = {self.u!r} with w = {self.w!r}"
            )
        return (1 - self.c) / self.s

    @property
    def labels(self) -> np.ndarray:
        """Of the columns of H."""
        return np.repeat(np.arange(self.classes), self.points)

    @property
    def targets(self) -> np.ndarray:
        """Y, K x Kn."""
        return np.repeat(np.eye(self.classes), self.points, axis=1)

    @property
    def enough_pull(self) -> float:
        """From this beta on R of a minimiser is at most that of H0, whatever H0 (ours)."""
        return max(0.0, 1 / (2 * self.w) - self.u)

    def at(self, **changes: float) -> Problem:
        """The same with other decays or another pull."""
        return replace(self, **changes)

    def check(self, features: np.ndarray) -> np.ndarray:
        """Given features as they must be.

        Raises:
            ParameterError: their shape is another one, or a number is not finite.
        """
        shape = (self.dim, self.classes * self.points)
        if features.shape != shape:
            raise ParameterError(f"features must be {shape}; got {features.shape}")
        if not np.isfinite(features).all():
            raise ParameterError("features must be finite; got nan or infinity")
        return features


def arranged(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Features of points, N x d, as columns class after class, d x Kn.

    Raises:
        ParameterError: classes are not equally large.
    """
    counts = np.bincount(labels)
    if counts.min() != counts.max():
        raise ParameterError(
            "classes must be equally large, for the theory is of balanced ones; got "
            f"{counts.min()} to {counts.max()} points: leave {counts.min()} of each"
        )
    return np.asarray(features, float)[np.argsort(labels, kind="stable")].T


def random_features(problem: Problem, seed: int) -> np.ndarray:
    """H0 with class means and deviations of independent standard normal numbers."""
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((problem.dim, problem.classes))
    shape = (problem.dim, problem.classes * problem.points)
    return np.repeat(means, problem.points, axis=1) + rng.standard_normal(shape)


def collapsed(problem: Problem, seed: int) -> np.ndarray:
    """A collapsed minimiser of L, in a random orientation: means orthogonal, of length^2 rho."""
    gaussian = np.random.default_rng(seed).standard_normal((problem.dim, problem.classes))
    frame = np.linalg.qr(gaussian).Q
    return np.repeat(math.sqrt(problem.rho) * frame, problem.points, axis=1)


def scaled(features: np.ndarray, problem: Problem) -> np.ndarray:
    """Given features by the one factor at which Tr Sigma_B is that of collapsed ones, since w and
    u mean nothing without a scale."""
    wanted = problem.rho * (1 - 1 / problem.classes)
    return features * math.sqrt(wanted / Spread.of(features, problem.classes).between)


# Spread --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    """How features spread within and between classes.

    Attributes:
        means: d x K.
        deviations: from the class means, d x Kn.
        within, between: Tr Sigma_W and Tr Sigma_B.
    """

    means: np.ndarray
    deviations: np.ndarray
    within: float
    between: float

    @classmethod
    def of(cls, features: np.ndarray, classes: int) -> Spread:
        """Of d x Kn features."""
        points = features.shape[1] // classes
        means = features.reshape(len(features), classes, points).mean(2)
        deviations = features - np.repeat(means, points, axis=1)
        centred = means - means.mean(1, keepdims=True)
        within = np.square(deviations).sum() / features.shape[1]
        return cls(means, deviations, float(within), float(np.square(centred).sum() / classes))

    @property
    def ratio(self) -> float:
        """R; 0 of collapsed features.

        Raises:
            ParameterError: all class means are the same.
        """
        if not self.between:
            raise ParameterError("features must have class means that differ; got Sigma_B = 0")
        return self.within / self.between

    @property
    def share_in_span(self) -> float:
        """Of the variance within classes, what lies in the span of the centred class means; of
        isotropic deviations (K-1)/d."""
        classes = self.means.shape[1]
        centred = self.means - self.means.mean(1, keepdims=True)
        basis = np.linalg.svd(centred, full_matrices=False).U[:, : classes - 1]
        return float(np.square(basis.T @ self.deviations).sum() / np.square(self.deviations).sum())


# Flow and minimisers -------------------------------------------------------------------------


def ridge(features: np.ndarray, problem: Problem) -> np.ndarray:
    """W*(H), K x d: the best classifier of given features."""
    n, gram = problem.points, features @ features.T
    gram = gram + n * problem.w * np.eye(problem.dim)
    return np.linalg.solve(gram, features @ problem.targets.T).T


def velocity(features: np.ndarray, problem: Problem) -> np.ndarray:
    """-Kn grad L(H), d x Kn."""
    classifier = ridge(features, problem)
    error = classifier @ features - problem.targets
    return -classifier.T @ error - problem.u * features


def rates(features: np.ndarray, problem: Problem) -> tuple[float, float]:
    """d/dt along the flow of the logarithms of e^(2ut) Tr Sigma_W, never more than 0, and of
    e^(2ut) Tr Sigma_B, never less (ours). Their difference is d ln R/dt.

    With S = K Sigma_W + w I and T = Hbar^T S^-1 Hbar, A = W* Hbar = T (I + T)^-1 is symmetric with
    eigenvalues in [0, 1), and the two are -2 Tr(W* Sigma_W W*^T) / Tr Sigma_W and
    2/K Tr(P A (I - A)) / Tr Sigma_B with P = I - 11^T/K.

    Raises:
        ParameterError: Sigma_W = 0 or Sigma_B = 0, where a logarithm has no rate.
    """
    spread, k = Spread.of(features, problem.classes), problem.classes
    if not spread.within or not spread.between:
        raise ParameterError("features must have Sigma_W and Sigma_B other than 0 to have rates")
    classifier = ridge(features, problem)
    logits, eye = classifier @ spread.means, np.eye(k)
    moved = np.square(classifier @ spread.deviations).sum() / features.shape[1]
    spreading = np.trace((eye - 1 / k) @ logits @ (eye - logits)) / k
    return -2 * float(moved) / spread.within, 2 * float(spreading) / spread.between


def objective(classifier: np.ndarray, features: np.ndarray, given: np.ndarray, p: Problem):
    """f."""
    n, k = p.points, p.classes
    return (
        np.square(classifier @ features - p.targets).sum() / (2 * k * n)
        + p.w / (2 * k) * np.square(classifier).sum()
        + p.u / (2 * k * n) * np.square(features).sum()
        + p.beta / (2 * k * n) * np.square(features - given).sum()
    )


def best_features(classifier: np.ndarray, given: np.ndarray, problem: Problem) -> np.ndarray:
    """The minimiser over H alone."""
    total = problem.u + problem.beta
    gram = classifier.T @ classifier + total * np.eye(problem.dim)
    return np.linalg.solve(gram, classifier.T @ problem.targets + problem.beta * given)


def attenuation(squared: np.ndarray, problem: Problem) -> np.ndarray:
    """By how much deviations from the class means shrink along a right singular vector of W of
    this squared singular value, at any stationary point of f (ours)."""
    return problem.beta / (problem.beta + problem.u + squared)


# Response at collapsed features --------------------------------------------------------------


def full_spectrum(problem: Problem) -> np.ndarray:
    """Eigenvalues of dH/dH0 at collapsed features, Kdn of them, smallest first (ours)."""
    k, d, n, b = problem.classes, problem.dim, problem.points, problem.beta
    return _sorted(
        (b / (b + problem.s), k * k * (n - 1)),
        (b / (b + problem.u), k * (d - k) * (n - 1)),
        (1, k * (d - k) + k * (k - 1) // 2),
        (_symmetric(problem), k * (k + 1) // 2),
    )


def own_spectrum(problem: Problem) -> np.ndarray:
    """Singular values of F_kk, the response of a class's features to its own given ones, dn of
    them, smallest first (ours)."""
    k, d, n, b = problem.classes, problem.dim, problem.points, problem.beta
    y = _symmetric(problem)
    return _sorted(
        (1, d - k),
        ((1 + y) / 2, k - 1),
        (y, 1),
        (b / (b + problem.u), (n - 1) * (d - k)),
        (b / (b + problem.s), (n - 1) * k),
    )


def other_spectrum(problem: Problem) -> np.ndarray:
    """Those of F_kl for another class l: one that is not 0 (ours)."""
    count = problem.dim * problem.points
    return _sorted(((1 - _symmetric(problem)) / 2, 1), (0, count - 1))


def paper_spectrum(problem: Problem) -> np.ndarray:
    """`own_spectrum` to the first order in 1/beta, whose largest and smallest the paper gives."""
    k, d, n, b = problem.classes, problem.dim, problem.points, problem.beta
    m = paper_other(problem)
    return _sorted(
        (1, d - k),
        (1 - m, k - 1),
        (1 - 2 * m, 1),
        (1 - problem.u / b, (n - 1) * (d - k)),
        (1 - problem.s / b, (n - 1) * k),
    )


def paper_other(problem: Problem) -> float:
    """The singular value of F_kl to the first order: 2u(1-c)/beta."""
    return 2 * problem.u * (1 - problem.c) / problem.beta


def _symmetric(problem: Problem) -> float:
    """The factor of changes of the means within their span that are no rotation."""
    return problem.beta / (problem.beta + 4 * problem.u * (1 - problem.c))


def _sorted(*values: tuple[float, int]) -> np.ndarray:
    numbers, counts = zip(*values, strict=True)
    return np.sort(np.repeat(np.array(numbers, float), counts))
