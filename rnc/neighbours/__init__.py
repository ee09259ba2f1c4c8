"""Papers that ask the next questions, a package each, on the library and the study's store."""

from rnc.neighbours import deep_linear, mixup, perturbation, posterior_collapse

NEIGHBOURS = (
    deep_linear.NEIGHBOUR,
    perturbation.NEIGHBOUR,
    mixup.NEIGHBOUR,
    posterior_collapse.NEIGHBOUR,
)
