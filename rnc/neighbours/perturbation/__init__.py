"""Features pulled towards given ones: perturbation analysis of collapse (Tirer et al. 2023)."""

from rnc.neighbours.neighbour import Neighbour
from rnc.neighbours.perturbation import experiments
from rnc.neighbours.perturbation.claims import CLAIMS

NEIGHBOUR = Neighbour(
    "12_perturbation_analysis",
    "Tirer et al. (2023)",
    "what is left of collapse near its ideal, and layer by layer",
    experiments.Settings,
    (experiments.digits, experiments.response, experiments.pull, experiments.path),
    CLAIMS,
)
