"""Do the findings survive stronger attacks, and attacks on the very thing that is measured?

The paper finds its perturbations with PGD-10 on the network's cross-entropy. Two audits that it
does not have:

- *Stronger*: five times as many steps, once on the cross-entropy and once on the margin (Carlini
  and Wagner 2017); each point gets whatever moved it most, the first attack included.
- *Adaptive* (Tramer et al. 2020): the NCC classifier is measured on perturbations that were
  found against it, not on those found against the network.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable

import torch
from torch import Generator, Tensor, nn

from rnc.attacks import LOSSES, Model, margin, pgd
from rnc.collapse import ClassMeans, linear_ncc
from rnc.models import output
from rnc.progress import progress
from rnc.study.data import unit
from rnc.study.measurements.changed import arrived, changed_labels
from rnc.study.measurements.measurement import Parts, columns, measurement
from rnc.study.measurements.standard import landing, output_measures, sending
from rnc.study.measurements.subject import Subject, attacked
from rnc.study.settings import Attack
from rnc.study.training import build
from rnc.surveys import batch_size, measures, read_out

LAYERS = 9  # about as many as a network has


def longer(attack: Attack) -> Attack:
    """Five times the steps, each 2.5 eps/steps, so that they can cross the ball (Madry et al.)."""
    steps = 5 * attack.steps
    return Attack(attack.norm, attack.eps, 2.5 * attack.eps / steps, steps)


@measurement(
    version=1,
    # on the network, targeted, on its NCC classifier; and on that of each layer
    passes=lambda attack: 6 * len(LOSSES) * longer(attack).steps + (LAYERS + 2) * 2 * attack.steps,
    when=lambda evaluation: False,
)
def stronger(subject: Subject, part: Parts) -> dict:
    """What stronger and adaptive attacks change of a record.

    Returns:
        A dictionary of

        - `attack`: `steps`, `alpha` (in 1/255) and `losses` of the stronger attacks.
        - `end`: by the names of `trajectory`, measures of pgd and targeted points under the
          stronger attacks, and mean angles; the NCC accuracy of pgd points is that under the
          adaptive attack on the penultimate features.
        - `leaping`, `changed`: what the measurements of these names give of these points;
          `changed` is not in files made before there was one.
        - `layers`: `names`, and `ncc_accuracy` under an adaptive attack on each layer that takes
          as many steps as the record's attack, or under that attack where it finds more.
    """
    model, y, k = subject.model, subject.y, subject.num_classes
    target = (y + 1) % k
    noise = Generator(y.device).manual_seed(1)  # other starts than the record's attack
    more = longer(subject.attack)
    clean = subject.clean_means

    def step(name: str, compute: Callable) -> dict | float:
        """A part whose random numbers follow those of the one before it, whenever that was."""
        if y.device.type != "cpu":  # whose states another kind of device cannot take up
            name += f" on {y.device.type}"
        done = part(name, lambda: {"value": compute(), "noise": noise.get_state()})
        noise.set_state(torch.tensor(done["noise"], dtype=torch.uint8))
        return done["value"]

    def search(
        model: Model, labels: Tensor, tried: list[Tensor], attack: Attack = more, **options
    ) -> Tensor:
        what = f"stronger attacks on {subject.training}: batch"
        return _search(model, subject.x, labels, attack, noise, what, tried, **options)

    @functools.cache
    def found() -> Tensor:
        noise.manual_seed(1)
        return search(model, y, [subject.points["pgd"]])

    def untargeted() -> dict:
        logits, h = read_out(model, found())
        landed = landing(clean, logits, h, y)
        means = {name: float(landed[name].nanmean()) for name in ("leap", "alignment")}
        measured, _ = measures(logits, h, y, model.classifier.weight, clean)
        measured |= output_measures(subject.read["clean"][0], logits)
        changed = changed_labels(clean, logits, h, y)
        return {"measures": measured, "means": means, "landed": landed, "changed": changed}

    def targeted() -> dict:
        sent = search(model, target, [subject.points["targeted"]], targeted=True)
        logits, h = read_out(model, sent)
        landed = sending(clean, logits, h, y)
        means = {"targeted_angle": float(landed["targeted_angle"].nanmean())}
        measured, _ = measures(logits, h, y, model.classifier.weight, clean)
        measured |= output_measures(subject.read["clean"][0], logits)
        changed = arrived(clean, logits, h, y)
        return {"measures": measured, "means": means, "landed": landed, "changed": changed}

    def ncc_accuracy(layer: str, tried: list[Tensor], **options) -> float:
        ncc = ncc_classifier(model, layer, subject.x, y, k)
        return _accuracy(ncc, search(ncc, y, tried, **options), y)

    def penultimate() -> float:
        state = noise.get_state()
        tried = [subject.points["pgd"], found()]  # found again, if it was stopped after that
        noise.set_state(state)
        return ncc_accuracy("penultimate", tried)

    def of_layer(layer: str) -> float:
        tried = [subject.points["pgd"]]
        return ncc_accuracy(layer, tried, attack=subject.attack, losses=["margin"])

    pgd_points, targeted_points = step("pgd", untargeted), step("targeted", targeted)
    adaptive = {"ncc_accuracy": step("ncc", penultimate)}
    return {
        "attack": {"steps": more.steps, "alpha": more.alpha, "losses": list(LOSSES)},
        "end": {
            "pgd": pgd_points["measures"] | adaptive,
            "targeted": targeted_points["measures"],
            **pgd_points["means"],
            **targeted_points["means"],
        },
        "leaping": pgd_points["landed"] | targeted_points["landed"],
        "changed": pgd_points["changed"] | targeted_points["changed"],
        "layers": {
            "names": list(model.layers),
            "ncc_accuracy": [
                step(f"layer {name}", functools.partial(of_layer, name)) for name in model.layers
            ],
        },
    }


@measurement(
    version=1,
    # network and classifier, on training points and on about as many test points
    passes=lambda attack: 8 * len(LOSSES) * longer(attack).steps,
    when=lambda evaluation: False,
)
def ncc_attacked(subject: Subject, part: Parts) -> dict:
    """What the stronger attacks leave of the network and of the NCC classifier on its penultimate
    features, when each is attacked itself.

    Returns:
        For `train` and `test` points, accuracy of the `network` and of `ncc`, whose centres are
        the class means of clean training points.
    """
    ncc = ncc_classifier(subject.model, "penultimate", subject.x, subject.y, subject.num_classes)
    points = {
        "train": (subject.x, subject.y),
        "test": (unit(subject.images.x_test), subject.images.y_test),
    }

    def left(name: str, model: Model, x: Tensor, y: Tensor) -> float:
        noise = Generator(y.device).manual_seed(1)
        what = f"attacking the {name} of {subject.training}: batch"
        return _accuracy(model, _search(model, x, y, longer(subject.attack), noise, what), y)

    return {
        kind: {
            name: part(f"{kind} {name}", functools.partial(left, name, model, *of))
            for name, model in (("network", subject.model), ("ncc", ncc))
        }
        for kind, of in points.items()
    }


SHARES = (0.25, 0.5, 1, 2)  # of the attack's radius


@measurement(
    version=1,
    passes=lambda attack: 3 * len(SHARES) * 2 * attack.steps,
    when=lambda evaluation: False,
)
def early(subject: Subject, part: Parts) -> dict:
    """What NCC classifiers keep of the points when each is attacked itself, on its margin.

    Returns:
        `radii`, in 1/255; `clean`, accuracy of each classifier without an attack; and accuracy at
        these radii of the NCC classifier on the `pixels`, on the first layer of the network before
        its training (`untrained`), and on its `first` and `last` layer after it.
    """
    x, y, k = subject.x, subject.y, subject.num_classes
    first, *_, last = subject.model.layers
    before = build(subject.training, subject.images).eval()
    classifiers = {
        "pixels": ncc_classifier(nn.Sequential(nn.Flatten()), "0", x, y, k),
        "untrained": ncc_classifier(before, first, x, y, k),
        "first": ncc_classifier(subject.model, first, x, y, k),
        "last": ncc_classifier(subject.model, last, x, y, k),
    }

    def kept(attack: Attack) -> dict:
        return {
            name: _accuracy(
                ncc,
                attacked(ncc, x, y, attack, Generator(y.device).manual_seed(0), loss="margin"),
                y,
            )
            for name, ncc in classifiers.items()
        }

    radii = [subject.attack.at_radius(share * subject.attack.eps) for share in SHARES]
    shown = progress(radii, f"attacking early layers of {subject.training}: radius", len(radii))
    rows = [part(f"{a.eps:g}", lambda attack=a: kept(attack)) for a in shown]
    clean = {name: _accuracy(ncc, x, y) for name, ncc in classifiers.items()}
    return {"radii": [attack.eps for attack in radii], "clean": clean} | columns(rows)


def _search(
    model: Model,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    noise: Generator,
    what: str,
    tried: Iterable[Tensor] = (),
    losses: Iterable[str] = LOSSES,
    targeted: bool = False,
) -> Tensor:
    """The strongest of what was tried and of one attack for each loss; `what` it is, to who
    waits."""
    options = attack.size | {"targeted": targeted, "generator": noise, "check": False}
    size = batch_size(x)
    batches = progress(x.split(size), what, math.ceil(len(y) / size))
    others = (perturbed.split(size) for perturbed in tried)
    best = []
    for batch, labels, *rest in zip(batches, y.split(size), *others, strict=True):
        rest += [pgd(model, batch, labels, loss=loss, **options) for loss in losses]
        best.append(strongest(model, labels, rest, targeted))
    return torch.cat(best)


def strongest(model: Model, y: Tensor, tried: list[Tensor], targeted: bool = False) -> Tensor:
    """For each point the perturbation that moves its margin most.

    Args:
        model: from images to logits, N x K.
        y: labels or, if `targeted`, targets; N.
        tried: the perturbed images to choose from, each N x C x H x W.
    """
    moved = torch.stack([_margin(model, perturbed, y) for perturbed in tried])
    best = moved.argmin(0) if targeted else moved.argmax(0)
    return torch.stack(tried)[best, torch.arange(len(y), device=y.device)]


def ncc_classifier(model: nn.Module, layer: str, x: Tensor, y: Tensor, num_classes: int) -> Model:
    """The NCC classifier on a layer of a network, from images to logits, for attacks on it.

    Args:
        model: the network, in eval mode; layer: the name of one of its modules.
        x, y: points whose class means are the centres, and their labels.
        num_classes: K.
    """
    means = ClassMeans(num_classes)
    for images, labels in zip(x.split(batch_size(x)), y.split(batch_size(x)), strict=True):
        with torch.no_grad():
            means.update(output(model, images, layer), labels)
    logits = linear_ncc(means.means, x.dtype)
    return lambda images: logits(output(model, images, layer))


@torch.no_grad()
def _margin(model: Model, x: Tensor, y: Tensor) -> Tensor:
    return margin(model(x), y)


def _accuracy(model: Model, x: Tensor, y: Tensor) -> float:
    """Of points that the classifier is sure of one way or the other; a tie is a mistake."""
    parts = zip(x.split(batch_size(x)), y.split(batch_size(x)), strict=True)
    return float(torch.cat([_margin(model, *part) < 0 for part in parts]).double().mean())
