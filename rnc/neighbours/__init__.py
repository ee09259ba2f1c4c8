"""Papers that ask the next questions, a package each, on the library and the study's store."""

from rnc.neighbours import deep_linear, mixup

NEIGHBOURS = (deep_linear.NEIGHBOUR, mixup.NEIGHBOUR)
