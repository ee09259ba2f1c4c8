"""What is measured of a trained network. A new measurement is one more declared function, in a
module that is imported here."""

from rnc.study.measurements import checks, standard, stronger, terminal, thumbnails
from rnc.study.measurements.measurement import MEASUREMENTS, Measurement, Parts, columns, plain
from rnc.study.measurements.subject import Subject

__all__ = [
    "MEASUREMENTS", "Measurement", "Parts", "Subject", "checks", "columns", "plain", "standard",
    "stronger", "terminal", "thumbnails",
]  # fmt: skip
