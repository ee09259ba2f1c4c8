"""Features of mixes in what the classifier sees, beside the two candidates: channel and chord."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rnc.errors import ParameterError
from rnc.models import outputs
from rnc.neighbours.mixup.mixes import Pairs, different, same
from rnc.neighbours.mixup.theory import mixed_features
from rnc.surveys import class_means

LAMBDAS = (0.5, 0.6, 0.7, 0.8, 0.9)
OF_TWO, OF_ONE = 10, 50  # mixes of an ordered pair of classes, and of one class

# Columns are the corners of an equilateral triangle about 0: of three numbers the part that is not
# their mean, in the plane without a change of lengths.
TRIANGLE = torch.tensor([[-0.5, 0.5, 0], [0, 0, 0.75**0.5]], dtype=torch.float64)
TRIANGLE = 2**0.5 * (TRIANGLE - TRIANGLE.mean(1, keepdim=True))


@dataclass(frozen=True)
class Frame:
    """What features are measured against; float64.

    Attributes:
        origin: mean of the clean class means, D.
        means: clean class means less the origin, K x D.
        rows: of the classifier, less their mean, K x D.
        seen: D x (K - 1), orthonormal: the directions that differences of logits can see.
    """

    origin: Tensor
    means: Tensor
    rows: Tensor
    seen: Tensor

    @classmethod
    def of(cls, h: Tensor, y: Tensor, weight: Tensor) -> Frame:
        """From clean features N x D, their labels, and the classifier's rows, K x D."""
        k = len(weight)
        means = class_means(h, y, k)
        rows = weight.detach().double()
        rows = rows - rows.mean(0)
        seen = torch.linalg.svd(rows, full_matrices=False).Vh[: k - 1].T
        return cls(means.mean(0), means - means.mean(0), rows, seen)

    def centred(self, h: Tensor) -> Tensor:
        """Features less the origin, float64."""
        return h.double() - self.origin

    def plane(self, classes: tuple[int, int, int]) -> Tensor:
        """D x 2, to the plane of three classes: their rows as a simplex as near as can be (the
        polar factor), and its vertices where an equilateral triangle has them."""
        rows = self.rows[list(classes)]
        u, s, vh = torch.linalg.svd((rows - rows.mean(0)).T, full_matrices=False)
        kept = s > 1e-5  # of three centred rows one direction is none
        polar = u[:, kept] @ vh[kept]
        return polar @ TRIANGLE.T


def check_classes(classes: tuple[int, ...], num_classes: int) -> None:
    """Of the picture.

    Raises:
        ParameterError: they are not three different ones of the data.
    """
    known = all(type(c) is int and 0 <= c < num_classes for c in classes)
    if len(classes) != 3 or len(set(classes)) != 3 or not known:
        raise ParameterError(
            f"classes must be three different ones in 0..{num_classes - 1}; got {classes!r}"
        )


def read_mixes(model: nn.Module, x: Tensor, pairs: list[Pairs], lam: float) -> list[tuple]:
    """Logits and features of the mixes of some lists of pairs, read as one batch in the mode that
    the network is in: in train mode a batch is normalised by its own statistics."""
    batch = torch.cat([some.mixed(x, lam) for some in pairs])
    with torch.no_grad():
        logits, h = outputs(model, batch, ["penultimate"])
    sizes = [len(some.first) for some in pairs]
    return list(zip(logits.split(sizes), h["penultimate"].split(sizes), strict=True))


def above(logits: Tensor, *classes: Tensor) -> Tensor:
    """Mean logit of some classes, each N labels, less that of all others; N, float64."""
    logits = logits.double()
    own = torch.stack([logits.gather(1, c[:, None]).squeeze(1) for c in classes]).sum(0)
    others = (logits.sum(1) - own) / (logits.shape[1] - len(classes))
    return own / len(classes) - others


def of_mixes(model: nn.Module, x: Tensor, y: Tensor, frame: Frame, seed: int) -> dict:
    """Mixes of one class and of two, for each of LAMBDAS.

    Args:
        model: in the mode in which it is to be read.
        x, y: training points, N x C x H x W in [0, 1], and labels.

    Returns:
        A dictionary of

        - `margin`: D, the logit of the own class less the mean of the others, of mixes of one
          class; `margins` for each lambda, and `margin_range`, their range over their mean.
        - `same_cos`, `same_cos_seen`: cosine of the mean of a class's mixes with its row, mean
          over classes, in all dimensions and in what the classifier sees; `worst_cos_seen`, the
          lowest, and `other_cos_seen`, the highest with another class's row.
        - `lambda_share`: variance of a class's means over lambda, as a share of that of all its
          mixes.
        - `off_theory`, `off_chord`: of the means of the mixes of two classes what each candidate,
          at its best scale, leaves unexplained (1 - R^2, seen); `off_plane`, what is outside the
          plane of the two rows; `unseen`, the share that the classifier does not see.
        - for each lambda `rise`, mean logit of the two classes less that of the others, and
          `difference` of the two, both over D; `probability` of the first.
    """
    k = len(frame.rows)
    ones, twos = (
        Pairs.between(y, same(k), OF_ONE, seed),
        Pairs.between(y, different(k), OF_TWO, seed),
    )
    margins, inside, cells, found = [], [], [], {"rise": [], "difference": [], "probability": []}
    for lam in LAMBDAS:
        (logits, h), (logits_two, h_two) = read_mixes(model, x, [ones, twos], lam)
        margins.append(float(above(logits, ones.a).mean()))
        inside.append(frame.centred(h).view(k, OF_ONE, -1))
        cells.append(frame.centred(h_two).view(-1, OF_TWO, h_two.shape[1]).mean(1))
        logits_two = logits_two.double()
        of_a, of_b = (logits_two.gather(1, c[:, None]) for c in (twos.a, twos.b))
        found["rise"].append(float(above(logits_two, twos.a, twos.b).mean()))
        found["difference"].append(float((of_a - of_b).mean()))
        chance = logits_two.softmax(1).gather(1, twos.a[:, None])
        found["probability"].append(float(chance.mean()))
    margin = float(np.mean(margins))
    for name in ("rise", "difference"):
        found[name] = [value / margin for value in found[name]]
    return (
        {
            "margin": margin,
            "margins": margins,
            "margin_range": float(np.ptp(margins)) / margin,
        }
        | _of_one(torch.stack(inside), frame)
        | _of_two(torch.stack(cells, 1), frame, margin)
        | found
    )


def _of_one(h: Tensor, frame: Frame) -> dict[str, float]:
    """Of centred features lambdas x K x mixes x D."""
    means = h.mean((0, 2))
    cosine = nn.functional.cosine_similarity(means[:, None], frame.rows[None], dim=2)
    seen, rows = means @ frame.seen, frame.rows @ frame.seen
    inside = nn.functional.cosine_similarity(seen[:, None], rows[None], dim=2)
    other = inside.masked_fill(torch.eye(len(rows), dtype=torch.bool), -1)
    over_lambda = (h.mean(2) - means).square().sum() / len(h)
    total = (h - means[None, :, None]).square().sum() / (h.shape[0] * h.shape[2])
    return {
        "same_cos": float(cosine.diagonal().mean()),
        "same_cos_seen": float(inside.diagonal().mean()),
        "worst_cos_seen": float(inside.diagonal().min()),
        "other_cos_seen": float(other.max()),
        "lambda_share": float(over_lambda / total),
    }


def _of_two(cells: Tensor, frame: Frame, margin: float) -> dict[str, float]:
    """Of means of centred features, ordered pairs of classes x lambdas x D."""
    rows, means = frame.rows @ frame.seen, frame.means @ frame.seen
    seen = cells @ frame.seen
    theory, chord, off_plane = [], [], 0.0
    for (a, b), of_pair in zip(different(len(rows)), seen, strict=True):
        features = [mixed_features(rows.numpy(), a, b, lam, margin) for lam in LAMBDAS]
        theory.append(torch.tensor(np.array(features)))
        lam = torch.tensor(LAMBDAS, dtype=torch.float64)[:, None]
        chord.append(lam * means[a] + (1 - lam) * means[b])
        plane = torch.linalg.qr(rows[[a, b]].T).Q
        off_plane += float((of_pair - of_pair @ plane @ plane.T).square().sum())
    total = float(seen.square().sum())
    return {
        "off_theory": unexplained(seen, torch.stack(theory)),
        "off_chord": unexplained(seen, torch.stack(chord)),
        "off_plane": off_plane / total,
        "unseen": 1 - total / float(cells.square().sum()),
    }


def unexplained(found: Tensor, candidate: Tensor) -> float:
    """Share of the squared length of `found` that a candidate of its shape, at its best scale,
    leaves."""
    scale = (found * candidate).sum() / candidate.square().sum()
    return float((found - scale * candidate).square().sum() / found.square().sum())
