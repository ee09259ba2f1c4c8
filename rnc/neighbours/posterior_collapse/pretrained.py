"""The autoencoder of a latent diffusion model, such as Stable Diffusion's, to be attacked alike.

Needs `diffusers`, an optional extra, and weights that are on this machine: nothing is downloaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from rnc.errors import UserError
from rnc.neighbours.posterior_collapse.vae import check_sides


class Pretrained:
    """An `Autoencoder` of an object with the interface of diffusers' `AutoencoderKL`.

    Args:
        model: `encode(x).latent_dist` has `mean` and `logvar`, `decode(z).sample` is an image,
            images are in [-1, 1]; `config.block_out_channels` has an entry for each resolution.
            It is put into eval mode and float32, since 1/v leaves float16, and its weights get no
            gradients.
    """

    def __init__(self, model: Any):
        self.model = model.float().eval().requires_grad_(False)
        self.factor = 2 ** (len(model.config.block_out_channels) - 1)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latent, which is not scaled; see `Autoencoder`."""
        check_sides(x, self.factor)
        posterior = self.model.encode(2 * x - 1).latent_dist
        return posterior.mean, posterior.logvar

    def decode(self, z: Tensor) -> Tensor:
        """Images; see `Autoencoder`."""
        return self.model.decode(z).sample / 2 + 0.5


def load_pretrained(path: str | Path, subfolder: str | None = "vae") -> Pretrained:
    """The autoencoder of a latent diffusion model that is on this machine.

    Args:
        path: a folder, or a name such as "org/model" that diffusers has in its cache.
        subfolder: in which the autoencoder is; None: it is the model itself.

    Raises:
        UserError: diffusers is not installed, or the weights are not there.
    """
    try:
        from diffusers import AutoencoderKL
    except ImportError as error:
        raise UserError(
            "attacking a latent diffusion model needs diffusers, which is not installed; "
            "pip install 'rnc[diffusion]'"
        ) from error
    try:
        model = AutoencoderKL.from_pretrained(
            str(path), subfolder=subfolder, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise UserError(f"there is no autoencoder of diffusers in {path} ({error})") from error
    return Pretrained(model)
