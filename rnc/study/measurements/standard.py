"""What every record holds of a network: collapse under perturbation, leaping, radii, layers."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from rnc.collapse import simplex_alignment
from rnc.progress import progress
from rnc.study.data import unit
from rnc.study.measurements.changed import changed_labels
from rnc.study.measurements.drawing import Drawing
from rnc.study.measurements.measurement import Parts, columns, measurement
from rnc.study.measurements.subject import Read, Subject, attacked
from rnc.study.methods import divergence
from rnc.surveys import class_means, layerwise, measures, read_out, share

SWEEP = {"linf": (0, 1, 2, 4, 6, 8, 12, 16), "l2": (0, 16, 32, 64, 96, 128, 192, 256)}
SWEPT = ("accuracy", "nc1", "nc2_norms", "nc2_angles", "nc3", "ncc_accuracy")
ANGLES = ("leap", "targeted_angle", "alignment")


@measurement(version=1, passes=lambda attack: 4 * attack.steps + 4, snapshots=True)
def trajectory(subject: Subject, part: Parts) -> dict:
    """At the `epochs` of the snapshots, for clean, pgd, gauss and targeted points, the measures of
    `rnc.surveys.measures` and of `output_measures` (not in files made before there were these);
    and the means over classes of the angles of `leaping`, in radians."""

    def row(then: Subject) -> dict:
        return at_epoch(then.read, then.y, then.model.classifier.weight)

    return _along_training(subject, part, row)


@measurement(
    version=1,
    passes=lambda attack: 2 * attack.steps + 3,
    snapshots=True,
    when=lambda evaluation: False,
)
def generalisation(subject: Subject, part: Parts) -> dict:
    """At the `epochs` of the snapshots, for `test` and `test_pgd` points, the measures of
    `rnc.surveys.measures`; NCC by the clean training means."""

    def row(then: Subject) -> dict:
        model, y = then.model, then.images.y_test
        logits, h = read_out(model, then.x)
        centres, weight = class_means(h, then.y, logits.shape[1]), model.classifier.weight
        read = {"test": then.read_test["clean"], "test_pgd": then.read_test["pgd"]}
        return {kind: measures(*of, y, weight, centres)[0] for kind, of in read.items()}

    return _along_training(subject, part, row)


@measurement(
    version=1,
    # only the last of about twelve snapshots is attacked, to choose classes as the sweep does
    passes=lambda attack: 1 + (4 * attack.steps + 4) / 12,
    snapshots=True,
    when=lambda evaluation: False,
)
def journey(subject: Subject, part: Parts) -> dict:
    """The way to the simplex: `classes` and `true` of the sweep's `drawing` and, at the `epochs`
    of the snapshots, its clean points on the axes of the last; see `Drawing.moment`."""
    drawing = Drawing(subject.read, subject.y)

    def row(then: Subject) -> dict:
        return drawing.moment(*read_out(then.model, then.x))

    still = {name: drawing.still[name] for name in ("classes", "true")}
    return still | _along_training(subject, part, row)


def _along_training(subject: Subject, part: Parts, row: Callable[[Subject], dict]) -> dict:
    epochs = subject.training.snapshots()
    shown = progress(epochs, f"measuring {subject.training}: snapshot", len(epochs))
    rows = [part(str(epoch), lambda epoch=epoch: row(subject.at(epoch))) for epoch in shown]
    return {"epochs": epochs} | columns(rows)


def at_epoch(read: Read, y: Tensor, weight: Tensor) -> dict:
    """Measures of all perturbations and the mean angles between their simplices."""
    row, centres = {}, None
    for kind, (logits, h) in read.items():
        row[kind], means = measures(logits, h, y, weight, centres)
        row[kind] |= output_measures(read["clean"][0], logits)
        centres = means if centres is None else centres  # the clean points come first
    landed = where_points_land(read, y)
    return row | {name: float(landed[name].nanmean()) for name in ANGLES}


def output_measures(clean: Tensor, logits: Tensor) -> dict[str, float]:
    """Of logits N x K, beside those of the same points unperturbed: `kl`, the mean KL divergence
    of the clean outputs from these; `logit_norm`, the mean length of the centred logits."""
    return {
        "kl": float(divergence(clean.double(), logits.double())),
        "logit_norm": float((logits - logits.mean(1, keepdim=True)).norm(dim=1).mean()),
    }


@measurement(version=1, passes=lambda attack: 4 * attack.steps + 4)
def leaping(subject: Subject, part: Parts) -> dict:
    """Where attacked points are at the end; see `landing` and `sending`."""
    return where_points_land(subject.read, subject.y)


def where_points_land(read: Read, y: Tensor) -> dict:
    clean = class_means(read["clean"][1], y, read["clean"][0].shape[1])
    return landing(clean, *read["pgd"], y) | sending(clean, *read["targeted"], y)


def landing(clean: Tensor, logits: Tensor, h: Tensor, y: Tensor) -> dict:
    """Where untargeted attacks send points, from the clean means K x D; lists are per class.

    Returns:
        A dictionary of

        - `predicted_counts`: attacked points by predicted label.
        - `clean_norms`, `predicted_norms`, `perturbed_norms`: lengths of the centred means of
          the clean points, of the attacked points by predicted label, and by true label.
        - `leap`: angle between the mean of the attacked points predicted as a class and the
          clean mean of that class; both centred; radians.
        - `alignment`: angle between the clean and the attacked mean of a class.
        - `vertex_angle`: between two vertices of a simplex.
    """
    k, predicted = len(clean), logits.argmax(1)
    by_prediction, perturbed = class_means(h, predicted, k), class_means(h, y, k)
    return {
        "predicted_counts": torch.bincount(predicted, minlength=k),
        "clean_norms": _centred(clean).norm(dim=1),
        "predicted_norms": _centred(by_prediction).norm(dim=1),
        "perturbed_norms": _centred(perturbed).norm(dim=1),
        "leap": simplex_alignment(clean, by_prediction),
        "alignment": simplex_alignment(clean, perturbed),
        "vertex_angle": math.acos(-1 / (k - 1)),
    }


def sending(clean: Tensor, logits: Tensor, h: Tensor, y: Tensor) -> dict:
    """Where attacks towards y + 1 send points, from the clean means K x D.

    Returns:
        A dictionary of

        - `targeted_angle`: per class, between the mean of the points sent to it, whether they
          arrived or not, and its clean mean; both centred; radians.
        - `targeted_success`: the share that arrived.
    """
    target = (y + 1) % len(clean)
    return {
        "targeted_angle": simplex_alignment(clean, class_means(h, target, len(clean))),
        "targeted_success": share(logits.argmax(1) == target),
    }


@measurement(
    version=1,
    passes=lambda attack: len({*SWEEP[attack.norm]} - {0, attack.eps}) * (2 * attack.steps + 1),
)
def sweep(subject: Subject, part: Parts) -> dict:
    """Collapse at radii `eps` from 0 to twice the paper's, in 1/255, and the attack's own: the
    measures of SWEPT, leap and alignment angle, the `drawing` of the points of four classes (see
    `Drawing`), and, not in files made before there was one, `changed`: what `changed_labels`
    gives, with the mean over classes of angle and length."""
    model, y, k = subject.model, subject.y, subject.num_classes
    clean = subject.clean_means
    drawing = Drawing(subject.read, y)
    there = {subject.attack.eps: "pgd", 0: "clean"}  # the same points, found and read before

    def read(eps: float) -> tuple[Tensor, Tensor]:
        if eps in there:
            return subject.read[there[eps]]
        noise = Generator(y.device).manual_seed(0)
        return read_out(model, attacked(model, subject.x, y, subject.attack.at_radius(eps), noise))

    def at_radius(eps: float) -> dict:
        logits, h = read(eps)
        measured, means = measures(logits, h, y, model.classifier.weight, clean)
        leap = simplex_alignment(clean, class_means(h, logits.argmax(1), k))
        return {
            "measured": {name: measured[name] for name in SWEPT}
            | {
                "leap": float(leap.nanmean()),
                "alignment": float(simplex_alignment(clean, means).nanmean()),
            },
            "frame": drawing.frame(logits, h),
            "changed": {
                group: {
                    name: float(torch.as_tensor(value).nanmean()) for name, value in of.items()
                }
                for group, of in changed_labels(clean, logits, h, y).items()
            },
        }

    radii = sorted({*SWEEP[subject.attack.norm], subject.attack.eps})
    shown = progress(radii, f"measuring {subject.training}: radius", len(radii))
    rows = [part(f"{eps:g}", lambda eps=eps: at_radius(eps)) for eps in shown]
    return (
        {"eps": radii}
        | columns([row["measured"] for row in rows])
        | {"drawing": drawing.still | columns([row["frame"] for row in rows])}
        | {"changed": columns([row["changed"] for row in rows])}
    )


@measurement(version=1, passes=lambda attack: 2 * attack.steps + 5)
def layers(subject: Subject, part: Parts) -> dict:
    """What `rnc.surveys.layerwise` gives of the clean and the pgd points at the end."""
    points = {kind: subject.points[kind] for kind in ("clean", "pgd")}
    return layerwise(subject.model, subject.model.layers, points, subject.y)


@measurement(version=1, passes=lambda attack: 2 * attack.steps + 2)
def test(subject: Subject, part: Parts) -> dict:
    """Accuracy on the clean and on the attacked (pgd) test images at the end."""
    y = subject.images.y_test
    return {kind: share(logits.argmax(1) == y) for kind, (logits, _) in subject.read_test.items()}


@measurement(
    version=1,
    passes=lambda attack: 2 * attack.steps + 2,
    all_points=True,
    when=lambda evaluation: evaluation.per_class is not None,
)
def everything(subject: Subject, part: Parts) -> dict:
    """The measures of all clean and pgd training points at the end, where the rest of a record is
    measured on a part of them."""
    x, y, weight = unit(subject.images.x), subject.images.y, subject.model.classifier.weight
    noise = Generator(y.device).manual_seed(0)
    clean, centres = measures(*read_out(subject.model, x), y, weight)
    x = attacked(subject.model, x, y, subject.attack, noise)
    return {
        "clean": clean,
        "pgd": measures(*read_out(subject.model, x), y, weight, centres)[0],
    }


def _centred(means: Tensor) -> Tensor:
    return means - means.nanmean(0)
