"""Robustness and neural collapse: the package behind the book, and for your own networks.

Features in a stream, and a whole network::

    from rnc import measure, survey
    measure([(features, labels)], num_classes=10, weight=model.fc.weight).nc1
    found = survey(model, images, labels, ["layer1", "layer4", "avgpool"], model.fc.weight)
    found.save("table.csv")
"""

from rnc.attacks import gaussian, margin, pgd, trades_perturbation
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
from rnc.errors import ParameterError
from rnc.models import features
from rnc.study.claims import judge
from rnc.study.findings import in_short, say
from rnc.study.record import Record
from rnc.study.records import available, records, scales
from rnc.study.settings import Attack, Evaluation, Study, Training
from rnc.surveys import Survey, survey

__all__ = [
    "Attack",
    "ClassMeans",
    "Collapse",
    "Evaluation",
    "ParameterError",
    "Record",
    "Study",
    "Survey",
    "Training",
    "WithinClass",
    "angles_between",
    "available",
    "features",
    "gaussian",
    "in_short",
    "judge",
    "margin",
    "measure",
    "ncc_logits",
    "nearest_class_centre",
    "pgd",
    "records",
    "say",
    "scales",
    "simplex_alignment",
    "simplex_deviation",
    "simplex_etf",
    "survey",
    "trades_perturbation",
]
