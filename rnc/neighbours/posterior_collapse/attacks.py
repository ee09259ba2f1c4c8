"""Attacks on an autoencoder: both of Guo et al. (2025), and what they are compared with.

All are sign steps within an l_inf ball about the image, in image units. Those of Guo et al. need
the encoder alone:

    L(x) = 1/2 sum_i (-ln s2_i - 1 + (mu_i^2 + s2_i) / v)

is, but for (d/2) ln v, the KL divergence of the posterior N(mu, s2) from N(0, v). PCA- descends it
at v = 1e-8, PCA+ ascends it at v = 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from rnc.attacks import gaussian, maximise
from rnc.errors import ParameterError
from rnc.neighbours.posterior_collapse.vae import Autoencoder

Objective = Callable[[Tensor], Tensor]  # from images to a sum over them, which is maximised


def posterior_loss(mean: Tensor, logvar: Tensor, v: float | Tensor) -> Tensor:
    """L of each image, N, summed over the latent (Guo et al.).

    Args:
        mean, logvar: of the posterior, N x ...; float32 or better, since 1/v leaves float16.
        v: variance of the normal distribution that the posterior is compared with.

    Raises:
        ParameterError: v is not a positive number, or the latent is float16.
    """
    if mean.dtype == torch.float16:
        raise ParameterError("the latent must be float32 or better; got float16")
    if not torch.is_tensor(v) and not (math.isfinite(v) and v > 0):
        raise ParameterError(f"v must be a positive number; got {v!r}")
    # one product: the two terms alone differ by ten powers of ten
    terms = (mean.square() + logvar.exp()) * (1 / v) - logvar - 1
    return terms.flatten(1).sum(1) / 2


@dataclass(frozen=True)
class Attack:
    """An attack on an autoencoder.

    Attributes:
        title: in figures and text.
        objective: from autoencoder, images and v to what is maximised.
        random_start: whether it starts at a random point, where the gradient at x is 0.
    """

    title: str
    objective: Callable[[Autoencoder, Tensor, float], Objective]
    random_start: bool = False

    def __call__(
        self,
        vae: Autoencoder,
        x: Tensor,
        *,
        eps: float,
        alpha: float = 2 / 255,
        steps: int = 40,
        v: float = 1e-8,
        generator: Generator | None = None,
    ) -> Tensor:
        """Attacked images.

        Args:
            x: N x C x H x W, in [0, 1].
            eps, alpha, steps: radius and step in image units, and how many; eps 0 gives x.
            v: of PCA- and of the same loss ascended; PCA+ and `prior` have v = 1.
            generator: of the random start.

        Raises:
            ValueError: a size or the range of x is not allowed.
        """
        start = None
        if self.random_start:
            start = x + eps * (2 * torch.rand(x.shape, generator=generator) - 1)
        objective = self.objective(vae, x, v)
        return maximise(objective, x, eps=eps, alpha=alpha, steps=steps, start=start)


def _pca(sign: int, v: float | None = None):
    def objective(vae: Autoencoder, x: Tensor, given: float) -> Objective:
        return lambda z: sign * posterior_loss(*vae.encode(z), given if v is None else v).sum()

    return objective


def _mean_towards(target: Callable[[Autoencoder, Tensor], Tensor], sign: int = -1):
    """The squared distance of the posterior mean from a target, down or, for sign 1, up."""

    def objective(vae: Autoencoder, x: Tensor, v: float) -> Objective:
        with torch.no_grad():
            goal = target(vae, x)
        return lambda z: sign * (vae.encode(z)[0] - goal).square().sum()

    return objective


def _decoded(vae: Autoencoder, x: Tensor, v: float) -> Objective:
    return lambda z: (vae.decode(vae.encode(z)[0]) - x).square().sum()


ATTACKS = {
    "pca_minus": Attack("PCA−", _pca(-1)),
    "pca_plus": Attack("PCA+", _pca(1, 1.0)),
    # the loss of PCA- the wrong way
    "minus_up": Attack("PCA− upwards", _pca(1)),
    # the latent mean to that of nothing, or of grey (PhotoGuard's encoder attack)
    "zero": Attack("to 0", _mean_towards(lambda vae, x: torch.zeros(()))),
    "grey": Attack("to grey", _mean_towards(lambda vae, x: vae.encode(x * 0 + 0.5)[0])),
    # a shift of the latent, any way (EditShield)
    "away": Attack("away", _mean_towards(lambda vae, x: vae.encode(x)[0], 1), random_start=True),
    # needs the decoder
    "decoded": Attack("decoder", _decoded),
}
TITLES = {"clean": "clean", "gauss": "noise"} | {k: a.title for k, a in ATTACKS.items()}


def perturbed(
    name: str,
    vae: Autoencoder,
    x: Tensor,
    *,
    eps: float,
    steps: int = 40,
    v: float = 1e-8,
    seed: int = 0,
) -> Tensor:
    """Images under an attack of ATTACKS, under Gaussian noise of standard deviation eps (`gauss`),
    or as they are (`clean`); eps in image units."""
    generator = Generator().manual_seed(seed)
    if name == "clean":
        return x
    if name == "gauss":
        return gaussian(x, eps=eps, generator=generator)
    return ATTACKS[name](vae, x, eps=eps, steps=steps, v=v, generator=generator)
