"""A small convolutional variational autoencoder, the part of latent diffusion that is attacked.

Any object with its two functions can be attacked: `encode`, from images in [0, 1] to mean and log
variance of the posterior, and `decode`, back to images. `rnc.neighbours.posterior_collapse.
pretrained` makes one of the autoencoder of a latent diffusion model.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from rnc.errors import ParameterError, check_number, check_whole
from rnc.progress import progress
from rnc.study.data import load, unit
from rnc.study.store import keep_tensors

BATCH, RATE = 64, 2e-3
GROUPS = 8  # of GroupNorm
VERSION = 1  # of weights; raise it when the same training ends in other ones


class Autoencoder(Protocol):
    """What is attacked.

    Attributes:
        factor: how many times smaller than the image the latent is, along each side.
    """

    factor: int

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the posterior, N x c x H/factor x W/factor, of images in
        [0, 1], N x C x H x W."""

    def decode(self, z: Tensor) -> Tensor:
        """Images of latents; they may leave [0, 1] a little."""


@dataclass(frozen=True)
class Training:
    """All that weights depend on, but for the seed.

    Attributes:
        dataset: as `rnc.study.data.load` takes it.
        per_class: training images of each class.
        width: channels of the first layer; of those in the middle twice as many.
        channels: c, of the latent.
        factor: by which each side is reduced, a power of 2.
        beta: weight of the KL to the prior.
        epochs: of training.

    Raises:
        ParameterError: names the parameter, its value and what is allowed.
    """

    dataset: str = "digits"
    per_class: int = 50
    width: int = 16
    channels: int = 1
    factor: int = 4
    beta: float = 1e-3
    epochs: int = 60

    def __post_init__(self) -> None:
        for name in ("channels", "epochs"):
            check_whole(name, getattr(self, name), 1)
        check_whole("per_class", self.per_class, 2)
        check_whole("width", self.width, GROUPS)
        if self.width % GROUPS:
            raise ParameterError(f"width must be a multiple of {GROUPS}; got {self.width!r}")
        check_whole("factor", self.factor, 2)
        if self.factor & (self.factor - 1):
            raise ParameterError(f"factor must be a power of 2; got {self.factor!r}")
        check_number("beta", self.beta, 0)


class VAE(nn.Module):
    """3 x 3 convolutions with GroupNorm and SiLU; the decoder enlarges by nearest neighbours.

    Args:
        width, channels, factor: as in `Training`.
        colours: channels of the images.
    """

    def __init__(self, width: int, channels: int, factor: int, colours: int = 3):
        super().__init__()
        self.factor = factor
        halvings, wide = int(math.log2(factor)), 2 * width
        self.encoder = nn.Sequential(
            _block(colours, width),
            *[_block(wide if i else width, wide, stride=2) for i in range(halvings)],
            _block(wide, wide),
            nn.Conv2d(wide, 2 * channels, 1),
        )
        enlarging: list[nn.Module] = []
        size = wide
        for left in range(halvings, 0, -1):
            narrower = width if left <= 2 else wide
            enlarging += [nn.Upsample(scale_factor=2), _block(size, narrower)]
            size = narrower
        self.decoder = nn.Sequential(
            _block(channels, wide),
            _block(wide, wide),
            *enlarging,
            nn.Conv2d(size, colours, 3, padding=1),
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, the latter in [-30, 20]; see `Autoencoder`."""
        mean, logvar = self.encoder(2 * x - 1).chunk(2, 1)
        return mean, logvar.clamp(-30, 20)

    def decode(self, z: Tensor) -> Tensor:
        """Images; see `Autoencoder`."""
        return self.decoder(z) / 2 + 0.5


def _block(channels_in: int, channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, stride, padding=1),
        nn.GroupNorm(GROUPS, channels),
        nn.SiLU(),
    )


def kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp logvar) || N(0, 1)) of each image, N, summed over the latent."""
    return (mean.square() + logvar.exp() - 1 - logvar).flatten(1).sum(1) / 2


def train(training: Training, x: Tensor, seed: int) -> VAE:
    """Minimises squared error, summed over an image, plus beta KL, with Adam on one cycle.

    Args:
        x: images, N x C x H x W, in [0, 1].
        seed: of the start, the batches and the noise.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = VAE(training.width, training.channels, training.factor, x.shape[1])
    noise = Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(vae.parameters(), RATE, fused=True)
    steps = training.epochs * math.ceil(len(x) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for _ in progress(range(training.epochs), "training a VAE: epoch", training.epochs):
        for batch in torch.randperm(len(x), generator=noise).split(BATCH):
            mean, logvar = vae.encode(x[batch])
            drawn = torch.randn(mean.shape, generator=noise)
            decoded = vae.decode(mean + (logvar / 2).exp() * drawn)
            fit = F.mse_loss(decoded, x[batch], reduction="sum")
            loss = (fit + training.beta * kl(mean, logvar).sum()) / len(batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return vae.eval().requires_grad_(False)


def trained(training: Training, seed: int) -> VAE:
    """The autoencoder of a training, whose weights are kept in the store."""
    tensors = keep_tensors(
        "posterior_collapse/vae",
        VERSION,
        asdict(training) | {"seed": seed},
        lambda: train(training, images(training)[0], seed).state_dict(),
    )
    vae = VAE(training.width, training.channels, training.factor)
    vae.load_state_dict(tensors)
    return vae.eval().requires_grad_(False)


def images(training: Training) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images in [0, 1] and labels to train on, and those to test on.

    Raises:
        ParameterError: their sides cannot be reduced by the factor.
    """
    found = load(training.dataset, per_class=training.per_class)
    x, x_test = (unit(images).contiguous() for images in (found.x, found.x_test))
    check_sides(x, training.factor)
    return x, found.y, x_test, found.y_test


def check_sides(x: Tensor, factor: int) -> None:
    """Raises ParameterError where images would be decoded to another size than theirs."""
    if any(side % factor for side in x.shape[-2:]):
        height, width = x.shape[-2:]
        raise ParameterError(
            f"images must have sides that {factor} divides; got {width} x {height} pixels"
        )
