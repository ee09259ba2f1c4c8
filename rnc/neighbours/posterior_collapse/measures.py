"""What a perturbation does to posteriors, to reconstructions, and to the geometry of classes."""

from __future__ import annotations

import functools

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from rnc.collapse import measure, nearest_class_centre
from rnc.neighbours.posterior_collapse.vae import Autoencoder, kl
from rnc.surveys import class_means, share

WINDOW = 7  # of SSIM
FLOOR_DRAWS = 20


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each pair of images in [0, 1], N."""
    return -10 * (a - b).double().square().flatten(1).mean(1).clamp_min(1e-12).log10()


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of each pair of images in [0, 1], N (Wang et al. 2004): mean over
    uniform windows of 7 x 7 that lie within the image, with unbiased variances."""
    a, b = a.double(), b.double()
    mean = functools.partial(F.avg_pool2d, kernel_size=WINDOW, stride=1)
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    mean_a, mean_b = mean(a), mean(b)
    variance_a = unbiased * (mean(a * a) - mean_a**2)
    variance_b = unbiased * (mean(b * b) - mean_b**2)
    covariance = unbiased * (mean(a * b) - mean_a * mean_b)
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity /= (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    return similarity.flatten(1).mean(1)


class Judge:
    """Names the class of an image: the label of the training image that correlates most with it,
    over pixels of the mean of the colours. It is blind to contrast, and no network.

    Args:
        x, y: training images and labels.
    """

    def __init__(self, x: Tensor, y: Tensor):
        self._known, self._labels = _standardised(x), y

    def __call__(self, x: Tensor) -> Tensor:
        """Labels, N."""
        return self._labels[(_standardised(x) @ self._known.T).argmax(1)]


def _standardised(x: Tensor) -> Tensor:
    grey = x.mean(1).flatten(1)
    return F.normalize(grey - grey.mean(1, keepdim=True), dim=1)


@torch.no_grad()
def look(vae: Autoencoder, seen: Tensor, x: Tensor, y: Tensor, judge: Judge) -> dict[str, float]:
    """Means over images of what is `seen` in place of x.

    Returns:
        `length` and `square` (per number) of the posterior mean, `logvar`, `kl` to N(0, 1) per
        number; `psnr`, `ssim` and `contrast` (standard deviation over that of x) of the decoded
        mean, and `judged`, the share that is still taken for its class; and `shown`, PSNR of the
        perturbed image itself.
    """
    mean, logvar = vae.encode(seen)
    decoded = vae.decode(mean)
    return {
        "length": float(mean.flatten(1).norm(dim=1).mean()),
        "square": float(mean.square().mean()),
        "logvar": float(logvar.mean()),
        "kl": float(kl(mean, logvar).mean()) / mean[0].numel(),
        "psnr": float(psnr(decoded, x).mean()),
        "ssim": float(ssim(decoded, x).mean()),
        "contrast": float((decoded.flatten(1).std(1) / x.flatten(1).std(1)).mean()),
        "judged": share(judge(decoded) == y),
        "shown": float(psnr(seen, x).mean()),
    }


def geometry(mean: Tensor, y: Tensor, centres: Tensor) -> dict[str, float]:
    """How classes lie in the latent.

    Args:
        mean: posterior means, N x ...; y: labels, N.
        centres: class means of clean posterior means, K x D.

    Returns:
        `nc1` and `nc2_angles`, see `rnc.Collapse`; `between`, Tr Sigma_B; `scatter`, the mean
        squared distance from the mean of all; `ncc_clean` and `ncc_own`, accuracy of the nearest
        class mean, of clean points and of these themselves.
    """
    flat, k = mean.flatten(1), len(centres)
    found = measure([(flat, y)], k)
    return {
        "nc1": found.nc1,
        "nc2_angles": found.nc2_angles,
        "between": found.between,
        "scatter": float((flat - flat.mean(0)).square().sum(1).mean()),
        "ncc_clean": share(nearest_class_centre(flat, centres) == y),
        "ncc_own": share(nearest_class_centre(flat, found.means) == y),
    }


def centres_of(mean: Tensor, y: Tensor) -> Tensor:
    """Class means, K x D."""
    return class_means(mean.flatten(1), y, int(y.max()) + 1)


def floor(per_class: int, classes: int, dim: int) -> dict[str, float]:
    """What `geometry` gives where classes are but noise, mean over draws: a point is part of the
    mean of its class, so that the nearest of them is its own more often than by chance."""
    generator = Generator().manual_seed(0)
    y = torch.arange(classes).repeat_interleave(per_class)
    drawn = []
    for _ in range(FLOOR_DRAWS):
        points = torch.randn(len(y), dim, generator=generator)
        drawn.append(geometry(points, y, torch.randn(classes, dim, generator=generator)))
    return {name: sum(of[name] for of in drawn) / FLOOR_DRAWS for name in drawn[0]}
