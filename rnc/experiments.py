"""What the chapters ask of a trained network: collapse under perturbation, leaping, layers.

Everything is measured on the training points (the paper is about the terminal phase of
training), with BatchNorm in eval mode. Sizes of perturbations are those of the settings, in
1/255.
"""

from __future__ import annotations

import datetime
import itertools
import math
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from rnc.attacks import gaussian, pgd
from rnc.collapse import (
    ClassMeans,
    WithinClass,
    nearest_class_centre,
    simplex_alignment,
)
from rnc.config import Attack, Training
from rnc.data import Images, unit
from rnc.models import features
from rnc.progress import progress
from rnc.training import (
    Checkpoint,
    OutOfTime,
    attack_arguments,
    autocast,
    build,
    reproducible,
)

BATCH = 500  # points at a time
SWEEP = {"linf": (0, 1, 2, 4, 6, 8, 12, 16), "l2": (0, 16, 32, 64, 96, 128, 192, 256)}
SWEPT = ("accuracy", "nc1", "nc2_norms", "nc2_angles", "nc3", "ncc_accuracy")
DRAWN_CLASSES = 4  # they span the three dimensions of a drawing
DRAWN_POINTS = 50  # per class


def measure_run(
    training: Training,
    attack: Attack,
    images: Images,
    snapshots: list[Checkpoint],
    rows: dict[int, dict] | None = None,
    on_row: Callable[[int, dict], None] = lambda epoch, row: None,
    deadline: float = math.inf,
) -> dict:
    """Everything the chapters show of one network under one attack.

    Args:
        training: the network's settings.
        attack: the attack of the evaluation.
        images: the data the network was trained on.
        snapshots: its weights at increasing epochs; the last ones are the result.
        rows: by epoch what `at_epoch` gave before, which is not measured again.
        on_row: called with an epoch and what `at_epoch` gives.
        deadline: time.time() after which no snapshot is begun.

    Returns:
        Plain lists and numbers, None where a value is not defined:

        - `classes`: their names. `epochs`: of the snapshots.
        - `trajectory`: at each epoch, for clean, pgd, gauss and targeted points, the measures of
          `collapse_of`; and the means over classes of the angles `leap`, `targeted_angle` and
          `alignment` (see `leaping`), in radians.
        - `final`: what `leaping` gives at the end.
        - `drawing`: what `Drawing` keeps of the points of four classes at each radius of the
          sweep.
        - `sweep`: measures in SWEPT, leap and alignment angle at each radius `eps`.
        - `layers`: what `layerwise` gives at the end.
        - `test`: accuracy on clean and on attacked test images.

    Raises:
        OutOfTime: the deadline came first.
    """
    began = time.monotonic()
    device = images.x.device
    model = build(training, images).eval()
    rows = dict(rows or {})
    with reproducible(device):
        what = f"measuring {training.label}, seed {training.seed}: snapshot"
        for snapshot in progress(snapshots, what, len(snapshots)):
            end = snapshot is snapshots[-1]
            if snapshot.epoch in rows and not end:
                continue
            if time.time() > deadline:
                raise OutOfTime(f"{training.slug} stopped before the snapshot {snapshot.epoch}")
            model.load_state_dict(snapshot.model)
            x = perturbations(training, model, images, attack)
            read = {name: read_out(model, points) for name, points in x.items()}
            rows[snapshot.epoch] = plain(at_epoch(model, images, read))
            on_row(snapshot.epoch, rows[snapshot.epoch])
        drawing = Drawing(images, read)
        result = {
            "classes": images.classes,
            "epochs": [snapshot.epoch for snapshot in snapshots],
            "trajectory": columns([rows[snapshot.epoch] for snapshot in snapshots]),
            "final": leaping(images, read),
            "sweep": sweep(training, model, images, attack, drawing),
            "drawing": drawing.result(),
            "layers": layerwise(model, model.layers, x["clean"], x["pgd"], images.y),
            "test": test_accuracy(training, model, images, attack),
            "measuring_seconds": round(time.monotonic() - began, 1),
        }
    return plain(result)


def perturbations(
    training: Training, model: nn.Module, images: Images, attack: Attack
) -> dict[str, Tensor]:
    """The training points: clean, attacked, with Gaussian noise, and attacked towards y + 1."""
    x, y = unit(images.x), images.y
    noise = Generator(x.device).manual_seed(0)
    target = (y + 1) % len(images.classes)
    return {
        "clean": x,
        "pgd": _attacked(training, model, x, y, attack, noise),
        "gauss": gaussian(x, eps=attack.eps / 255, norm=attack.norm, generator=noise),
        "targeted": _attacked(training, model, x, target, attack, noise, targeted=True),
    }


def _attacked(
    training: Training,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    noise: Generator,
    targeted: bool = False,
) -> Tensor:
    """All points under PGD, a batch at a time, found at the precision of the training."""
    size = attack_arguments(attack)
    parts = zip(x.split(BATCH), y.split(BATCH), strict=True)
    with autocast(training, x.device):
        return torch.cat(
            [pgd(model, *part, targeted=targeted, generator=noise, **size) for part in parts]
        )


def read_out(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits N x K and penultimate features N x D of all points."""

    def batch(x: Tensor) -> tuple[Tensor, Tensor]:
        logits, outputs = features(model, x, ["penultimate"])
        return logits, outputs["penultimate"]

    logits, penultimate = zip(*(batch(part) for part in x.split(BATCH)), strict=True)
    return torch.cat(logits), torch.cat(penultimate)


def collapse_of(
    logits: Tensor,
    h: Tensor,
    y: Tensor,
    weight: Tensor | None = None,
    centres: Tensor | None = None,
) -> tuple[dict[str, float], Tensor]:
    """All measures of some points, by name, and their class means K x D.

    NC1 to NC4 use the points' own means and their original labels, also when the points are
    perturbed. `ncc_accuracy` uses `centres` (means of the clean points) where given.
    """
    k = logits.shape[1]
    first = ClassMeans(k)
    first.update(h, y)
    second = WithinClass(first)
    second.update(h, y)
    measured = second.result(weight)
    predicted = logits.argmax(1)
    own = nearest_class_centre(h, measured.means)
    nearest = own if centres is None else nearest_class_centre(h, centres)
    return {
        "accuracy": _share(predicted == y),
        "loss": float(F.cross_entropy(logits, y)),
        "nc1": measured.nc1,
        "nc2_norms": measured.nc2_norms,
        "nc2_angles": measured.nc2_angles,
        "nc2_norms_w": measured.nc2_norms_w,
        "nc2_angles_w": measured.nc2_angles_w,
        "nc3": measured.nc3,
        "nc4": _share(own != predicted),
        "ncc_accuracy": _share(nearest == y),
        "within": measured.within,
        "between": measured.between,
    }, measured.means


def at_epoch(model: nn.Module, images: Images, read: dict) -> dict:
    """Measures of all perturbations and the mean angles between their simplices."""
    y, weight, centres = images.y, model.classifier.weight, None
    row = {}
    for name, (logits, h) in read.items():
        row[name], means = collapse_of(logits, h, y, weight, centres)
        centres = means if centres is None else centres  # the clean points come first
    landed = leaping(images, read)
    angles = ("leap", "targeted_angle", "alignment")
    return row | {name: float(landed[name].nanmean()) for name in angles}


def leaping(images: Images, read: dict) -> dict:
    """Where attacked points land.

    Returns, per class where it is a list:
        - `predicted_counts`: attacked points by predicted label.
        - `clean_norms`, `predicted_norms`, `perturbed_norms`: lengths of the centred means of
          the clean points, of the attacked points by predicted label, and by true label.
        - `leap`: angle between the mean of the attacked points predicted as a class and the
          clean mean of that class; both centred; radians.
        - `targeted_angle`: the same, for the points sent to a class by the targeted attack,
          whether they arrived or not. `targeted_success`: the share that arrived.
        - `alignment`: angle between the clean and the attacked mean of a class.
        - `vertex_angle`: between two vertices of a simplex.
    """
    y, k = images.y, len(images.classes)
    target = (y + 1) % k
    logits, h = read["pgd"]
    predicted = logits.argmax(1)
    by_prediction = class_means(h, predicted, k)
    clean, perturbed = class_means(read["clean"][1], y, k), class_means(h, y, k)
    sent = class_means(read["targeted"][1], target, k)
    return {
        "predicted_counts": torch.bincount(predicted, minlength=k),
        "clean_norms": _centred(clean).norm(dim=1),
        "predicted_norms": _centred(by_prediction).norm(dim=1),
        "perturbed_norms": _centred(perturbed).norm(dim=1),
        "leap": simplex_alignment(clean, by_prediction),
        "targeted_angle": simplex_alignment(clean, sent),
        "targeted_success": _share(read["targeted"][0].argmax(1) == target),
        "alignment": simplex_alignment(clean, perturbed),
        "vertex_angle": math.acos(-1 / (k - 1)),
    }


class Drawing:
    """Points and means of four classes in the three dimensions that their clean means span.

    The classes are those among which most attacked points leap. The axes are turned so that
    the first class stands on top of the other three; lengths are in units of the mean length of
    a vertex.

    Args:
        images: the data.
        read: logits and features of its clean and its attacked (pgd) points.
    """

    def __init__(self, images: Images, read: dict):
        self.y, self.k = images.y, len(images.classes)
        y, k = self.y, self.k
        predicted = read["pgd"][0].argmax(1)
        leaps = torch.bincount(y * k + predicted, minlength=k * k).view(k, k).fill_diagonal_(0)
        # of many classes only the busiest are tried together
        busiest = (leaps.sum(0) + leaps.sum(1)).argsort(descending=True, stable=True)[:10]
        self.classes = max(
            itertools.combinations(sorted(busiest.tolist()), min(DRAWN_CLASSES, k)),
            key=lambda group: int(leaps[list(group)][:, list(group)].sum()),
        )
        means = class_means(read["clean"][1], y, k)[list(self.classes)]
        self.origin = means.mean(0)
        self.scale = (means - self.origin).norm(dim=1).mean()
        vertices = (means - self.origin) / self.scale
        # the rotation that brings the means closest to an upright simplex (Procrustes)
        upright = _upright_simplex(len(self.classes)).to(means)
        u, _, v = torch.linalg.svd(upright.T @ vertices)
        self.axes = u @ v[: len(u)]
        self.vertices = vertices @ self.axes.T
        self.drawn = torch.cat([(y == c).nonzero().flatten()[:DRAWN_POINTS] for c in self.classes])
        self.frames: list[dict] = []

    def add(self, logits: Tensor, h: Tensor) -> None:
        """Adds the points under one more attack: logits N x K and features N x D of all."""
        predicted = logits.argmax(1)
        means = class_means(h, predicted, self.k)[list(self.classes)]
        self.frames.append(
            {
                "points": self._place(h[self.drawn].double()),
                "predicted": predicted[self.drawn],
                "predicted_means": self._place(means),
            }
        )

    def _place(self, h: Tensor) -> list:
        placed = (h - self.origin) @ self.axes.T / self.scale
        return self._in_space((placed * 1000).round() / 1000).tolist()

    @staticmethod
    def _in_space(points: Tensor) -> Tensor:
        """Three coordinates, also where fewer than four classes span fewer dimensions."""
        return F.pad(points, (0, DRAWN_CLASSES - 1 - points.shape[1]))

    def result(self) -> dict:
        """`classes`; `vertices`, the clean means, 4 x 3; `true`, classes of the points drawn;
        and lists over what was added: `points` N x 3, `predicted` classes, N, and
        `predicted_means`, of all points predicted as one of the classes, 4 x 3."""
        return {
            "classes": list(self.classes),
            "vertices": self._in_space(self.vertices),
            "true": self.y[self.drawn],
        } | columns(self.frames)


def _upright_simplex(k: int) -> Tensor:
    """A regular simplex of k vertices in k - 1 dimensions; the first one is straight up."""
    vertices = torch.zeros(k, k - 1, dtype=torch.float64)
    for i in range(k - 1):  # vertex i stands on axis -1 - i, those after it lean on it
        axis = k - 2 - i
        vertices[i, axis] = (1 - vertices[i].square().sum()).sqrt()
        vertices[i + 1 :, axis] = (-1 / (k - 1) - vertices[i + 1 :] @ vertices[i]) / vertices[
            i, axis
        ]
    return vertices


def sweep(
    training: Training, model: nn.Module, images: Images, attack: Attack, drawing: Drawing
) -> dict:
    """Collapse and leaping at radii from 0 to twice the paper's, in 1/255, and the attack's."""
    rows, k, x = [], len(images.classes), unit(images.x)
    clean = class_means(read_out(model, x)[1], images.y, k)
    radii = sorted({*SWEEP[attack.norm], attack.eps})
    what = f"measuring {training.label}, seed {training.seed}: radius"
    for eps in progress(radii, what, len(radii)):
        noise = Generator(x.device).manual_seed(0)
        read = read_out(
            model, _attacked(training, model, x, images.y, attack.at_radius(eps), noise)
        )
        drawing.add(*read)
        row, means = collapse_of(*read, images.y, model.classifier.weight, clean)
        leap = simplex_alignment(clean, class_means(read[1], read[0].argmax(1), k))
        rows.append(
            {name: row[name] for name in SWEPT}
            | {
                "leap": float(leap.nanmean()),
                "alignment": float(simplex_alignment(clean, means).nanmean()),
            }
        )
    return {"eps": radii} | columns(rows)


def layerwise(
    model: nn.Module,
    layers: Sequence[str],
    clean: Tensor,
    perturbed: Tensor,
    y: Tensor,
    batch: int = BATCH,
) -> dict:
    """NC1, NC2 and NCC accuracy at every layer, clean and perturbed.

    All layers are measured together, and nothing larger than the features of one batch is kept.
    Points are passed twice, since the directions of NC1 are those of the means of all. NCC
    centres are the clean class means.

    Args:
        model: any network.
        layers: names of its modules, in order of depth.
        clean, perturbed: images, N x C x H x W; y: labels, N.
        batch: points at a time.

    Returns:
        `names`, and for `clean` and `perturbed` lists over layers of `nc1`, `nc2_norms`,
        `nc2_angles`, `ncc_accuracy`.
    """
    k = int(y.max()) + 1
    centres: dict[str, Tensor] = {}
    result: dict = {"names": list(layers)}
    for kind, x in (("clean", clean), ("perturbed", perturbed)):

        def outputs(x: Tensor = x) -> Iterator[tuple[str, Tensor, Tensor]]:
            for part, labels in zip(x.split(batch), y.split(batch), strict=True):
                for name, h in features(model, part, layers)[1].items():
                    yield name, h, labels

        means = {name: ClassMeans(k) for name in layers}
        for name, h, labels in outputs():
            means[name].update(h, labels)
        centres = centres or {name: means[name].means for name in layers}
        within = {name: WithinClass(means[name]) for name in layers}
        right = dict.fromkeys(layers, 0)
        for name, h, labels in outputs():
            within[name].update(h, labels)
            right[name] += int((nearest_class_centre(h, centres[name]) == labels).sum())
        rows = []
        for name in layers:
            c = within[name].result()
            rows.append(
                {
                    "nc1": c.nc1,
                    "nc2_norms": c.nc2_norms,
                    "nc2_angles": c.nc2_angles,
                    "ncc_accuracy": right[name] / len(y),
                }
            )
        result[kind] = columns(rows)
    return result


def test_accuracy(
    training: Training, model: nn.Module, images: Images, attack: Attack
) -> dict[str, float]:
    """Accuracy on the clean and on the attacked test images."""
    clean, y = unit(images.x_test), images.y_test
    noise = Generator(clean.device).manual_seed(0)
    attacked = _attacked(training, model, clean, y, attack, noise)
    return {
        "clean": _share(read_out(model, clean)[0].argmax(1) == y),
        "pgd": _share(read_out(model, attacked)[0].argmax(1) == y),
    }


def class_means(h: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Mean of each group of points, K x D, float64; nan for a group without points."""
    means = ClassMeans(num_classes)
    means.update(h, labels)
    return means.means


def environment(device: torch.device) -> dict[str, str]:
    """Where and with what something was computed."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    here = Path(__file__).resolve().parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown"
    return {
        "device": f"{device.type} ({name})",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit,
        "date": datetime.date.today().isoformat(),
    }


def _centred(means: Tensor) -> Tensor:
    return means - means.nanmean(0)


def _share(condition: Tensor) -> float:
    return float(condition.double().mean())


def columns(rows: list[dict]) -> dict:
    """A list of equal dictionaries as one dictionary of lists, at any depth."""
    return {
        name: columns([row[name] for row in rows])
        if isinstance(value, dict)
        else [row[name] for row in rows]
        for name, value in rows[0].items()
    }


def plain(value):
    """JSON's types: tensors as lists, six significant digits, None for what is not finite."""
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
