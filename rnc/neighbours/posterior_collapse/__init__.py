"""Posterior collapse as an attack on latent diffusion (Guo et al. 2025), on a small VAE."""

from rnc.neighbours.neighbour import Neighbour
from rnc.neighbours.posterior_collapse import experiments
from rnc.neighbours.posterior_collapse.claims import CLAIMS
from rnc.neighbours.posterior_collapse.settings import Settings

NEIGHBOUR = Neighbour(
    "14_posterior_collapse",
    "Guo et al. (2025)",
    "an attack on an autoencoder that collapses its latents",
    Settings,
    (
        experiments.radii,
        experiments.perturbations,
        experiments.edits,
        experiments.losses,
        experiments.purified,
        experiments.crafted,
        experiments.transfer,
    ),
    CLAIMS,
)
