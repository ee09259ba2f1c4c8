"""The same perturbations of an autoencoder of CIFAR-10, from a record: no part of the chapter's
settings, since it takes minutes, and data that not everybody has."""

from __future__ import annotations

from rnc.neighbours.posterior_collapse.experiments import perturbations
from rnc.neighbours.posterior_collapse.settings import Settings
from rnc.neighbours.posterior_collapse.vae import Training

TRAINING = Training("cifar10", per_class=100, width=32, channels=4, factor=8, epochs=40)
SETTINGS, SEED = Settings(TRAINING), 0


def recorded() -> dict | None:
    """What `perturbations` gave; None where it is in no record."""
    return perturbations(SETTINGS, SEED) if perturbations.is_kept(SETTINGS, SEED) else None


def publish() -> None:
    """Trains and attacks it, some minutes on one core, and puts the result among the records."""
    perturbations(SETTINGS, SEED)
    perturbations.publish(SETTINGS, SEED)
