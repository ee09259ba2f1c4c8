"""Robustness and neural collapse: the package behind the book, and for your own networks.

from rnc import measure, survey
measure([(features, labels)], num_classes=10, weight=model.fc.weight).nc1
survey(model, images, labels, ["layer1", "layer4", "avgpool"], model.fc.weight).save("table.csv")
"""

from rnc.attacks import gaussian, margin, pgd, trades_perturbation
from rnc.claims import Scales, judge
from rnc.collapse import (
    ClassMeans,
    Collapse,
    WithinClass,
    angles_between,
    measure,
    ncc_logits,
    nearest_class_centre,
    simplex_alignment,
    simplex_deviation,
    simplex_etf,
)
from rnc.config import Attack, ParameterError, Study, Training
from rnc.models import features
from rnc.runs import by_network, found, record, recorded, records, side_by_side
from rnc.survey import Survey, survey
from rnc.training import objective, train

__all__ = [
    "Attack",
    "ClassMeans",
    "Collapse",
    "ParameterError",
    "Scales",
    "Study",
    "Survey",
    "Training",
    "WithinClass",
    "angles_between",
    "by_network",
    "features",
    "found",
    "gaussian",
    "judge",
    "margin",
    "measure",
    "ncc_logits",
    "nearest_class_centre",
    "objective",
    "pgd",
    "record",
    "recorded",
    "records",
    "side_by_side",
    "simplex_alignment",
    "simplex_deviation",
    "simplex_etf",
    "survey",
    "trades_perturbation",
    "train",
]
