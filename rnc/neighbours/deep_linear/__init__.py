"""Neural collapse in deep linear networks, from balanced to imbalanced data (Dang et al. 2023)."""

from rnc.neighbours.deep_linear import experiments
from rnc.neighbours.deep_linear.claims import CLAIMS
from rnc.neighbours.neighbour import Neighbour

NEIGHBOUR = Neighbour(
    "11_deep_linear",
    "Dang et al. (2023)",
    "what collapse is when layers are linear and classes unequal",
    experiments.Settings,
    (
        experiments.digits,
        experiments.collapse,
        experiments.frames,
        experiments.origin,
        experiments.entropy,
    ),
    CLAIMS,
)
