"""Mixup's influence on neural collapse (Fisher et al. 2024)."""

from rnc.neighbours.mixup import experiments
from rnc.neighbours.mixup.claims import CLAIMS
from rnc.neighbours.neighbour import Neighbour

NEIGHBOUR = Neighbour(
    "13_mixup",
    "Fisher et al. (2024)",
    "what mixing images does to collapse, and to robustness",
    experiments.Settings,
    (experiments.mixup, experiments.mixup_mse, experiments.mixup_etf, experiments.st),
    CLAIMS,
)
