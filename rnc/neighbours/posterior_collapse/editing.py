"""Edits in the latent space, towards another class: a shift, and a small latent diffusion."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from rnc.errors import ParameterError
from rnc.progress import progress

WIDTH, BLOCKS, WAVES = 128, 2, 8  # of the denoiser
STEPS, BATCH, RATE = 2000, 128, 2e-3
DROPPED = 0.1  # labels, so that it learns what is common to all
DDIM_STEPS = 30


def shift(latents: Tensor, y: Tensor, target: Tensor, centres: Tensor) -> Tensor:
    """Latents moved by the difference of two class means.

    Args:
        latents: N x ...; y, target: classes from and to, N.
        centres: class means, K x D.
    """
    _differ(y, target)
    moved = (centres[target] - centres[y]).to(latents.dtype)
    return latents + moved.view(latents.shape)


def kept(time: Tensor) -> Tensor:
    """The share of variance that is signal at a time in [0, 1], on a cosine (Nichol and Dhariwal
    2021); never quite 0 or 1."""
    return torch.cos(time * math.pi / 2).square().clamp(1e-4, 1 - 1e-4)


class Denoiser(nn.Module):
    """Predicts the noise in latents of a class; the number of classes stands for any class.

    Args:
        latents: N x ..., to learn from; it sees them standardised.
        classes: K.
    """

    def __init__(self, latents: Tensor, classes: int):
        super().__init__()
        flat = latents.flatten(1)
        self.mean, self.std = flat.mean(0), flat.std(0).clamp_min(1e-6)
        self.classes = classes
        self.label = nn.Embedding(classes + 1, WIDTH)
        self.enter = nn.Linear(flat.shape[1] + 2 * WAVES, WIDTH)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH)
            )
            for _ in range(BLOCKS)
        )
        self.leave = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, flat.shape[1]))

    def forward(self, z: Tensor, time: Tensor, label: Tensor) -> Tensor:
        """Noise in standardised latents N x D at times and of classes, N each."""
        angles = time[:, None] * math.pi * 2 ** torch.arange(WAVES) / 2
        h = self.enter(torch.cat([z, angles.sin(), angles.cos()], 1)) + self.label(label)
        for block in self.blocks:
            h = h + block(h)
        return self.leave(h)


def train_denoiser(latents: Tensor, y: Tensor, seed: int, steps: int) -> Denoiser:
    """A denoiser of latents, N x ..., of classes y, N."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser = Denoiser(latents, int(y.max()) + 1)
    flat = (latents.flatten(1) - denoiser.mean) / denoiser.std
    noise = Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(denoiser.parameters(), RATE, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for _ in progress(range(steps), "training a denoiser: step", steps):
        chosen = torch.randint(len(flat), (BATCH,), generator=noise)
        time = torch.rand(BATCH, generator=noise)
        drawn = torch.randn(BATCH, flat.shape[1], generator=noise)
        dropped = torch.rand(BATCH, generator=noise) < DROPPED
        label = torch.where(dropped, denoiser.classes, y[chosen])
        loss = F.mse_loss(denoiser(noised(flat[chosen], drawn, time), time, label), drawn)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return denoiser.eval().requires_grad_(False)


def noised(z: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """Latents N x D at times, N."""
    signal = kept(time)[:, None]
    return signal.sqrt() * z + (1 - signal).sqrt() * noise


@torch.no_grad()
def sdedit(
    denoiser: Denoiser,
    latents: Tensor,
    y: Tensor,
    target: Tensor,
    *,
    strength: float,
    guidance: float = 2.0,
    seed: int = 0,
) -> Tensor:
    """Latents edited as SDEdit does (Meng et al. 2022): noise up to a time, then DDIM steps down.

    Args:
        latents: N x ...; y, target: classes from and to, N.
        strength: the time, in (0, 1]; at 1 nothing of the latents is left.
        guidance: towards the class; 1 is none.
        seed: of the noise, which is one for all sets of N latents.

    Raises:
        ParameterError: the strength is not allowed, or an image is of its target class.
    """
    if not 0 < strength <= 1:
        raise ParameterError(f"strength must be in (0, 1]; got {strength!r}")
    _differ(y, target)
    flat = (latents.flatten(1) - denoiser.mean) / denoiser.std
    noise = torch.randn(flat.shape, generator=Generator().manual_seed(seed))
    times = torch.linspace(strength, 0, DDIM_STEPS + 1)
    z = noised(flat, noise, times[:1].expand(len(flat)))
    any_class = torch.full_like(target, denoiser.classes)
    for time, after in itertools.pairwise(times):
        at = time.expand(len(z))
        free, led = denoiser(z, at, any_class), denoiser(z, at, target)
        predicted = free + guidance * (led - free)
        signal = kept(time)
        clean = (z - (1 - signal).sqrt() * predicted) / signal.sqrt()
        z = noised(clean, predicted, after.expand(len(z)))
    return (z * denoiser.std + denoiser.mean).view(latents.shape)


def _differ(y: Tensor, target: Tensor) -> None:
    if (y == target).any():
        raise ParameterError("target must differ from the class of each image; got the same class")
