"""The typed record: everything that was measured of one network under one evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from rnc.study.measurements import MEASUREMENTS
from rnc.study.settings import Evaluation, Training

ENOUGH = 0.1  # share of the points of whose groups by label something can be said


class NotMeasured(KeyError):
    """A record lacks a measurement, such as one that was added after the record was made."""


@dataclass(frozen=True)
class Record:
    """What is known of a network. Measures are by name as in `rnc.surveys.measures`; a value that
    could not be formed is nan.

    Attributes:
        training, evaluation: the settings.
        trained: of the training: `classes` (their names), `history` (loss and accuracy of each
            epoch, on the batches as trained on), `deviations` (from the paper), `network`
            (digests of data and weights) and `environment` (device, versions, commit, seconds).
        measured: by name of the measurement, its `values` and `environment`.
    """

    training: Training
    evaluation: Evaluation
    trained: dict
    measured: dict[str, dict]

    def __getitem__(self, measurement: str) -> dict:
        """The values of a measurement.

        Raises:
            NotMeasured: it was not made of this network.
        """
        if measurement not in self.measured:
            raise NotMeasured(f"there is no measurement {measurement!r} of {self.training.slug}")
        return self.measured[measurement]["values"]

    # The trajectory -------------------------------------------------------------------------

    @property
    def epochs(self) -> list[int]:
        """At which the network was measured."""
        return self["trajectory"]["epochs"]

    def curve(self, points: str, measure: str) -> np.ndarray:
        """A measure at `epochs`, of clean, pgd, gauss or targeted points.

        Raises:
            NotMeasured: the record is older than the measure.
        """
        if not self.has(points, measure):
            raise NotMeasured(
                f"there is no {measure!r} along the training of {self.training.slug}"
            )
        return numbers(self["trajectory"][points][measure])

    def has(self, points: str, measure: str) -> bool:
        """Whether a measure was taken along the training, or the record is older than it."""
        return measure in self["trajectory"][points]

    def end(self, points: str, measure: str) -> float:
        """A measure at the end of the training."""
        return float(self.curve(points, measure)[-1])

    def angles(self, name: str) -> np.ndarray:
        """The mean over classes of leap, targeted_angle or alignment at `epochs`, in radians."""
        return numbers(self["trajectory"][name])

    def angle(self, name: str) -> float:
        """The same at the end of the training."""
        return float(self.angles(name)[-1])

    # At the end -----------------------------------------------------------------------------

    @property
    def classes(self) -> list[str]:
        """Their names."""
        return self.trained["classes"]

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def vertex_angle(self) -> float:
        """Between two vertices of a simplex, in radians."""
        return self["leaping"]["vertex_angle"]

    @property
    def targeted_success(self) -> float:
        """The share of targeted attacks that reach their target."""
        return self["leaping"]["targeted_success"]

    def per_class(self, name: str) -> np.ndarray:
        """What `rnc.study.measurements.standard.landing` and `sending` give of each class."""
        return numbers(self["leaping"][name])

    @property
    def radii(self) -> list[float]:
        """Of the sweep, in 1/255."""
        return self["sweep"]["eps"]

    def swept(self, measure: str) -> np.ndarray:
        """A measure of pgd points, or leap or alignment, at `radii`."""
        return numbers(self["sweep"][measure])

    def test_curve(self, points: str, measure: str) -> np.ndarray:
        """A measure of test or test_pgd points at `epochs`; see `generalisation`."""
        return numbers(self["generalisation"][points][measure])

    def swept_changed(self, group: str, measure: str) -> np.ndarray:
        """Of the points whose label changed at each of `radii`; see `sweep`.

        Raises:
            NotMeasured: the record is older than that.
        """
        if "changed" not in self["sweep"]:
            raise NotMeasured(f"changed points over radii were not kept of {self.training.slug}")
        return numbers(self["sweep"]["changed"][group][measure])

    @property
    def enough_changed(self) -> np.ndarray:
        """At which of `radii` so many points changed their label that groups of them tell."""
        return self.swept_changed("pgd", "share") >= ENOUGH

    @property
    def drawing(self) -> dict:
        """Points of four classes in 3-D at `radii`; see `rnc.study.measurements.drawing`."""
        return self["sweep"]["drawing"]

    @property
    def layers(self) -> dict:
        """What `rnc.surveys.layerwise` gives of clean and pgd points."""
        return self["layers"]

    def layer_curve(self, points: str, measure: str) -> np.ndarray:
        """A measure of clean or pgd points at every layer."""
        return numbers(self.layers[points][measure])

    def geometry(self, points: str, measure: str) -> float:
        """A measure of clean, pgd, gauss, targeted, test or test_pgd points; see
        `rnc.study.measurements.terminal.geometry`."""
        return float(numbers(self["geometry"][points][measure]))

    def changed(self, group: str, measure: str) -> np.ndarray:
        """Share and nc1, or angle and length of each class, of pgd or targeted points whose label
        changed, of scatter or scatter_in_span; see `rnc.study.measurements.changed`."""
        return numbers(self["changed"][group][measure])

    def untrained(self, points: str) -> np.ndarray:
        """NCC accuracy on clean or pgd points at every layer before the training."""
        return numbers(self["baselines"]["layers"][points])

    def pixels(self, points: str) -> float:
        """NCC accuracy of the pixels themselves on clean or pgd points."""
        return self["baselines"]["pixels"][points]

    def attacked(self, points: str, classifier: str) -> float:
        """Accuracy on train or test points of the network or ncc, attacked itself; see
        `rnc.study.measurements.stronger.ncc_attacked`."""
        return self["ncc_attacked"][points][classifier]

    def test(self, points: str) -> float:
        """Accuracy on clean or pgd test points."""
        return self["test"][points]

    # Beside it ------------------------------------------------------------------------------

    def history(self, name: str) -> np.ndarray:
        """Loss or accuracy of each epoch of the training."""
        return numbers(self.trained["history"][name])

    def last_tenth(self, name: str) -> float:
        """Mean loss or accuracy over the last tenth of the epochs."""
        curve = self.history(name)
        return float(curve[-max(1, len(curve) // 10) :].mean())

    @property
    def loss_left(self) -> float:
        """Of the loss of guessing, the share that is left over the last tenth of the epochs."""
        return self.last_tenth("loss") / math.log(self.num_classes)

    @property
    def measuring_seconds(self) -> float:
        """Wall time of what every record holds; of what was measured together one notes it."""
        return sum(
            found["environment"].get("seconds", 0)
            for name, found in self.measured.items()
            if MEASUREMENTS[name].when(self.evaluation)
        )

    def _attacked_themselves(self) -> tuple[float, float]:
        """What NCC classifiers on the first layer before training and on the pixels keep at the
        radius of the evaluation; nan where it was not measured."""
        if "early" not in self.measured:
            return math.nan, math.nan
        early = self["early"]
        at = early["radii"].index(self.evaluation.attack.eps)
        return early["untrained"][at], early["pixels"][at]

    def under_stronger(self) -> Record:
        """The record with the values of the stronger attacks, for the same tests to judge.

        Replaced are the end of the trajectory, what is about landing and changed points, and the
        layers' NCC accuracy of pgd points, beside which stand the baselines that were attacked
        themselves: of the first layer and the pixels, where `early` was measured. The last
        layer's angles are those of the end. The rest, such as earlier epochs, the sweep and test
        points, is as it was.
        """
        stronger = self["stronger"]
        trajectory = _with_ends(self["trajectory"], stronger["end"])
        *early, _ = self.layers["pgd"]["nc2_angles"]
        pgd = self.layers["pgd"] | {
            "ncc_accuracy": stronger["layers"]["ncc_accuracy"],
            "nc2_angles": [*early, trajectory["pgd"]["nc2_angles"][-1]],
        }
        replaced = {
            "trajectory": trajectory,
            "leaping": stronger["leaping"],
            "layers": self.layers | {"pgd": pgd},
        }
        measured = {name: m for name, m in self.measured.items() if name != "changed"}
        if "changed" in stronger:  # which the first of these measurements did not keep
            replaced["changed"] = stronger["changed"]
        if "baselines" in self.measured:
            layers, pixels = (self["baselines"][of] for of in ("layers", "pixels"))
            first, kept = self._attacked_themselves()
            attacked = layers | {"pgd": [first, *[None] * (len(layers["pgd"]) - 1)]}
            replaced["baselines"] = {"layers": attacked, "pixels": pixels | {"pgd": kept}}
        for name, values in replaced.items():
            measured[name] = self.measured.get(name, {"environment": {}}) | {"values": values}
        return replace(self, measured=measured)


def numbers(values: list | float | None) -> np.ndarray:
    """Of a list from JSON, where None stands for what could not be formed."""
    return np.array(values, float)


def mean(values: np.ndarray) -> float:
    """Over classes, without those of which there is no value; nan where there is none at all."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _with_ends(curves: dict, ends: dict) -> dict:
    return curves | {
        name: _with_ends(curves[name], end) if isinstance(end, dict) else [*curves[name][:-1], end]
        for name, end in ends.items()
        if name in curves  # which an older trajectory may lack
    }
