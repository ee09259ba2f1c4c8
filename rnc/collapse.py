"""Neural collapse measured from features and labels alone, in float64, as a stream.

The definitions are those of Papyan et al. (2020) as the paper uses them (section 3): for
features h, labels y in 0..K-1, class means mu_c and global mean mu_G,

    Sigma_W = 1/N sum_i (h_i - mu_{y_i}) (h_i - mu_{y_i})^T
    Sigma_B = 1/K sum_c (mu_c - mu_G) (mu_c - mu_G)^T

Sigma_B has rank at most K - 1, so Tr(Sigma_W Sigma_B^+) needs only the projections of
h_i - mu_{y_i} on K - 1 directions: O(N D K) work and O(D K) memory, where the covariance
matrices themselves would need O(N D^2) and O(D^2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# Numbers at a time: 1 MiB in float64, which fits a core's own cache; on a GPU as many as keep
# it busy.
CHUNK = {"cpu": 1 << 17, "cuda": 1 << 25}


@dataclass(frozen=True)
class Collapse:
    """How collapsed some features are; 0 is complete collapse for every measure.

    Attributes:
        nc1: variability, Tr(Sigma_W Sigma_B^+). Papyan et al. divide it by K.
        nc2_norms: equinorm, std/mean over c of the length of mu_c - mu_G.
        nc2_angles: equiangularity, the mean over i != j of the distance of
            cos(mu_i - mu_G, mu_j - mu_G) from -1/(K - 1); nan for D < K - 1, where no simplex
            exists.
        nc2_norms_w, nc2_angles_w: the same for the rows of the classifier W; nan without W.
        nc3: self-duality, the squared Frobenius distance of W^T/norm(W) and M/norm(M), M
            having the centred class means as columns; nan without W.
        within, between: Tr(Sigma_W) and Tr(Sigma_B).
        means: class means, K x D, float64.
        counts: points per class, K.
    """

    nc1: float
    nc2_norms: float
    nc2_angles: float
    nc2_norms_w: float
    nc2_angles_w: float
    nc3: float
    within: float
    between: float
    means: Tensor
    counts: Tensor


class ClassMeans:
    """Running class means of a stream of features.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int):
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2; got {num_classes!r}")
        self.num_classes = num_classes
        self.sums: Tensor | None = None
        self.counts: Tensor | None = None
        self.squares: Tensor | float = 0.0  # sum of the squared lengths of all points

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Adds a batch: features N x ... (flattened to N x D), labels N."""
        for h, y in _chunks(features, labels, self.num_classes):
            if self.sums is None:
                self.sums = h.new_zeros(self.num_classes, h.shape[1])
                self.counts = y.new_zeros(self.num_classes)
            members = torch.zeros(len(y), self.num_classes, dtype=h.dtype, device=h.device)
            self.sums += members.scatter_(1, y[:, None], 1).T @ h
            self.counts += torch.bincount(y, minlength=self.num_classes)
            self.squares += torch.dot(h.flatten(), h.flatten())

    @property
    def centred(self) -> Tensor:
        """Class means minus the global mean of all points, K x D; nan for an empty class."""
        return self.means - self.sums.sum(0) / self.counts.sum()

    @property
    def means(self) -> Tensor:
        """Class means, K x D; nan for a class without points."""
        return self.sums / self.counts[:, None]


class WithinClass:
    """The second reading of a stream: spread of the points about their class means.

    Args:
        class_means: the means of the same stream, complete.

    Raises:
        ValueError: there are no points, a class has none, or a feature is not finite.
    """

    def __init__(self, class_means: ClassMeans):
        if class_means.sums is None:
            raise ValueError("there are no points to measure")
        empty = torch.nonzero(class_means.counts == 0).flatten().tolist()
        if empty:
            raise ValueError(
                f"every class needs points; {len(empty)} of {len(class_means.counts)} have none, "
                f"such as class {empty[0]}"
            )
        self.num_classes = class_means.num_classes
        self.counts, self.means = class_means.counts, class_means.means
        self.centred = class_means.centred
        if not self.centred.isfinite().all():
            raise ValueError("features must be finite; got nan or infinity")
        # Right singular vectors of the centred means are the eigenvectors of Sigma_B, its
        # eigenvalues are the squared singular values / K. The cut-off is numpy's for a
        # pseudo-inverse of the D x D matrix; the rank is at most K - 1 whatever rounding says.
        # Found on the CPU: it is small, and a GPU may not converge on a singular value of 0.
        found = torch.linalg.svd(self.centred.cpu(), full_matrices=False)
        _, singular, directions = (part.to(self.centred.device) for part in found)
        eigenvalues = singular[: self.num_classes - 1] ** 2 / self.num_classes
        cut = eigenvalues.max() * self.centred.shape[1] * torch.finfo(torch.float64).eps
        rank = int((eigenvalues > cut).sum())
        self.whitening = (directions[:rank] / eigenvalues[:rank, None].sqrt()).T
        self.projected_means = self.means @ self.whitening
        self.whitened = self.means.new_zeros(())
        # Steiner's theorem: the squares about the class means from those about 0
        about_means = class_means.squares - (self.counts.double() @ self.means.square()).sum()
        self.within = max(0.0, float(about_means)) / int(self.counts.sum())

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Adds a batch: features N x ... (flattened to N x D), labels N."""
        for h, y in _chunks(features, labels, self.num_classes):
            # projected before it is centred: K - 1 numbers per point instead of D
            self.whitened += (h @ self.whitening - self.projected_means[y]).square().sum()

    def result(self, weight: Tensor | None = None) -> Collapse:
        """The measures; `weight` and errors as in `measure`."""
        centred, points = self.centred, int(self.counts.sum())
        norms, angles = simplex_deviation(centred)
        norms_w = angles_w = nc3 = math.nan
        if weight is not None:
            weight = weight.detach().to(centred)
            if weight.shape != centred.shape:
                raise ValueError(
                    f"weight must be {self.num_classes} x {centred.shape[1]} (classes x "
                    f"features); got {' x '.join(map(str, weight.shape))}"
                )
            norms_w, angles_w = simplex_deviation(weight)
            nc3 = float((weight / weight.norm() - centred / centred.norm()).square().sum())
        return Collapse(
            nc1=float(self.whitened) / points if self.whitening.shape[1] else math.nan,
            nc2_norms=norms,
            nc2_angles=angles,
            nc2_norms_w=norms_w,
            nc2_angles_w=angles_w,
            nc3=nc3,
            within=self.within,
            between=float(centred.square().sum()) / self.num_classes,
            means=self.means,
            counts=self.counts,
        )


def measure(
    batches: Iterable[tuple[Tensor, Tensor]], num_classes: int, weight: Tensor | None = None
) -> Collapse:
    """Neural collapse of a set of features.

    Args:
        batches: pairs (features N x ..., labels N). It is read twice, so it must be a list,
            a data loader or another iterable that can start again; a single pair of tensors
            is `[(features, labels)]`. Features are flattened to N x D.
        num_classes: K.
        weight: rows of the linear classifier on these features, K x D, for the measures of W.

    Raises:
        ValueError: no points, a class without points, labels outside 0..K-1, features that
            are not finite, a weight of another shape, or batches that can be read only once.
    """
    if isinstance(batches, Iterator):
        raise ValueError("batches is read twice; give a list or a data loader, not an iterator")
    means = ClassMeans(num_classes)
    for features, labels in batches:
        means.update(features, labels)
    within = WithinClass(means)
    for features, labels in batches:
        within.update(features, labels)
    return within.result(weight)


def simplex_deviation(vectors: Tensor) -> tuple[float, float]:
    """How far K vectors are from a simplex equiangular tight frame.

    Args:
        vectors: K x D, centred.

    Returns:
        Equinorm std/mean (std with K - 1, as in the reference code), and the mean over pairs
        of the distance of their cosine from -1/(K - 1); nan for D < K - 1, where no simplex
        exists.
    """
    vectors = vectors.double()
    k, d = vectors.shape
    norms = vectors.norm(dim=1)
    unit = vectors / norms[:, None]
    cosines = (unit @ unit.T)[~torch.eye(k, dtype=torch.bool, device=vectors.device)]
    angles = (cosines + 1 / (k - 1)).abs().mean() if d >= k - 1 else math.nan
    return float(norms.std() / norms.mean()), float(angles)


def nearest_class_centre(features: Tensor, means: Tensor) -> Tensor:
    """Labels of the nearest class mean, the NCC classifier.

    Args:
        features: N x ... (flattened to N x D).
        means: class means, K x D; a class whose mean is nan is never chosen.

    Returns:
        Labels, N.
    """
    means = means.double()
    origin = means[~means.isnan().any(1)].mean(0)  # distances near the data keep their digits
    out = []
    for h in _pieces(features):
        distances = torch.cdist(
            h - origin, means - origin, compute_mode="donot_use_mm_for_euclid_dist"
        )
        out.append(distances.nan_to_num(nan=math.inf).argmin(1))
    return torch.cat(out)


def ncc_logits(features: Tensor, means: Tensor) -> Tensor:
    """The NCC classifier as a linear one, which an attack can differentiate.

    Its logits are -1/2 times the squared distances to the means, but for a term that is the same
    for every class, so that the largest is that of the nearest mean.

    Args:
        features: N x ... (flattened to N x D).
        means: class means, K x D; a class whose mean is nan has the logit -inf.

    Returns:
        Logits, N x K, in the precision of the features.
    """
    return linear_ncc(means, features.dtype)(features)


def linear_ncc(means: Tensor, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """`ncc_logits` of many batches: what it takes of the means K x D, for which a GPU is waited
    for, is taken once. `dtype` is that of the features."""
    missing = means.isnan().any(1)
    origin = means[~missing].mean(0)  # distances near the data keep their digits
    centres = (means - origin).nan_to_num(0).to(dtype)
    origin, offsets = origin.to(dtype), centres.square().sum(1) / 2

    def logits(features: Tensor) -> Tensor:
        h = features.flatten(1) - origin
        return (h @ centres.T - offsets).masked_fill(missing, -math.inf)

    return logits


def angles_between(a: Tensor, b: Tensor) -> Tensor:
    """Angles between the rows of two matrices, in radians.

    Accurate for small angles, where the arc cosine is not; nan where a row is nan or 0.

    Args:
        a, b: K x D.

    Returns:
        K angles in [0, pi], float64.
    """
    a, b = a.double(), b.double()
    a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    return 2 * torch.atan2((a - b).norm(dim=1), (a + b).norm(dim=1))


def simplex_alignment(clean: Tensor, perturbed: Tensor) -> Tensor:
    """Angle between the clean and the perturbed mean of each class, both centred, in radians.

    Args:
        clean, perturbed: class means, K x D. Each is centred by its own mean over classes. A
            class that is nan in either is left out of both means, and its angle is nan.

    Returns:
        K angles; two vertices of a simplex are arccos(-1/(K - 1)) apart.
    """
    known = ~(clean + perturbed).isnan().any(1)
    return angles_between(clean - clean[known].mean(0), perturbed - perturbed[known].mean(0))


def simplex_etf(num_classes: int, dim: int, generator: torch.Generator | None = None) -> Tensor:
    """A simplex equiangular tight frame in a random orientation, K x D, rows of length 1.

    Raises:
        ValueError: `dim` is less than K - 1, where no such frame exists.
    """
    if dim < num_classes - 1:
        raise ValueError(f"dim must be at least {num_classes - 1}; got {dim}")
    k = num_classes
    eye = torch.eye(k, dtype=torch.float64)
    # orthonormal coordinates of the simplex within the K - 1 dimensions that it spans
    values, vectors = torch.linalg.eigh(eye - 1 / k)
    simplex = vectors[:, 1:] * values[1:].sqrt() * math.sqrt(k / (k - 1))
    random = torch.randn(dim, k - 1, dtype=torch.float64, generator=generator)
    return simplex @ torch.linalg.qr(random).Q.T


def _chunks(features: Tensor, labels: Tensor, num_classes: int) -> Iterator[tuple[Tensor, Tensor]]:
    """A batch, checked, in float64 pieces of bounded size with their labels."""
    if labels.shape != features.shape[:1]:
        raise ValueError(
            f"labels must be one per point, {features.shape[0]}; got shape {tuple(labels.shape)}"
        )
    if len(labels) and (int(labels.min()) < 0 or int(labels.max()) >= num_classes):
        raise ValueError(
            f"labels must be in 0..{num_classes - 1}; got {int(labels.min())}..{int(labels.max())}"
        )
    start = 0
    for h in _pieces(features):
        yield h, labels[start : start + len(h)].long()
        start += len(h)


def _pieces(features: Tensor) -> Iterator[Tensor]:
    h = features.detach().flatten(1)
    rows = max(1, CHUNK.get(h.device.type, CHUNK["cpu"]) // max(1, h.shape[1]))
    for start in range(0, len(h), rows):
        yield h[start : start + rows].double()
