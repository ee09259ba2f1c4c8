"""What a specialist asks of a network at its end: geometry, and what needs no learning."""

from __future__ import annotations

from rnc.collapse import nearest_class_centre
from rnc.geometry import between_spectrum, cdnv, effective_rank, principal_angles, self_duality
from rnc.study.measurements.measurement import Parts, measurement
from rnc.study.measurements.standard import output_measures
from rnc.study.measurements.subject import Subject
from rnc.study.training import build
from rnc.surveys import class_means, layerwise, measures, share


@measurement(version=1, passes=lambda attack: 6 * attack.steps + 8, later=True)
def geometry(subject: Subject, part: Parts) -> dict:
    """For clean, pgd, gauss and targeted training points and for test and test_pgd points, what
    `rnc.surveys.measures` gives (NCC by the clean training means), and

    - `cdnv`, `spectrum` and `effective_rank`: see `rnc.geometry`.
    - `nc3_lengths`, `nc3_directions`: the two parts of NC3.
    - `principal_angles`: between the spans of these means and of the clean training means.
    - `kl` and `logit_norm`: see `output_measures`.
    """
    weight = subject.model.classifier.weight.detach()
    y, test, centres = subject.images.y_test, subject.read_test, subject.clean_means
    read = subject.read | {"test": test["clean"], "test_pgd": test["pgd"]}
    found = {}
    for kind, (logits, h) in read.items():
        labels, before = (y, "test") if kind.startswith("test") else (subject.y, "clean")
        measured, means = measures(logits, h, labels, weight, centres)
        spectrum = between_spectrum(means)
        lengths, directions = self_duality(weight, means)
        found[kind] = (
            measured
            | {
                "cdnv": cdnv(h, labels, means),
                "spectrum": spectrum,
                "effective_rank": effective_rank(spectrum),
                "nc3_lengths": lengths,
                "nc3_directions": directions,
                "principal_angles": principal_angles(centres, means),
            }
            | output_measures(read[before][0], logits)
        )
    return found


@measurement(version=1, passes=lambda attack: 2 * attack.steps + 12, later=True)
def baselines(subject: Subject, part: Parts) -> dict:
    """What NCC classifiers reach without learning: on `pixels`, and on the `layers` of the network
    before its training (`names`), on clean and on pgd points; centres are clean class means."""
    points = {kind: subject.points[kind] for kind in ("clean", "pgd")}
    centres = class_means(points["clean"], subject.y, subject.num_classes)
    before = build(subject.training, subject.images).eval()
    layers = layerwise(before, before.layers, points, subject.y)
    return {
        "pixels": {
            kind: share(nearest_class_centre(x, centres) == subject.y)
            for kind, x in points.items()
        },
        "layers": {"names": layers["names"]}
        | {kind: layers[kind]["ncc_accuracy"] for kind in points},
    }
