"""Do the findings survive stronger attacks, and attacks on the very thing that is measured?

The paper finds its perturbations with PGD-10 on the network's cross-entropy. Two audits that it
does not have:

- *Stronger*: five times as many steps, once on the cross-entropy and once on the margin (Carlini
  and Wagner 2017); each point gets whatever moved it most, the first attack included.
- *Adaptive* (Tramer et al. 2020): the NCC classifier is measured on perturbations that were
  found against it, not on those found against the network.

Everything is measured on the training points, as in `experiments`.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable

import torch
from torch import Generator, Tensor, nn

from rnc.attacks import LOSSES, Model, margin, pgd
from rnc.collapse import ClassMeans, ncc_logits
from rnc.config import Attack, Training, UserError
from rnc.data import Images
from rnc.experiments import BATCH, at_epoch, leaping, perturbations, plain, read_out
from rnc.models import features, outputs
from rnc.progress import progress
from rnc.training import (
    Checkpoint,
    OutOfTime,
    attack_arguments,
    autocast,
    build,
    reproducible,
)


class Mismatch(UserError):
    """Two results of the same settings are not of the same network."""


def longer(attack: Attack) -> Attack:
    """Five times the steps, each 2.5 eps/steps, so that they can cross the ball (Madry et al.)."""
    steps = 5 * attack.steps
    return Attack(attack.norm, attack.eps, 2.5 * attack.eps / steps, steps)


def measure_stronger(
    training: Training,
    attack: Attack,
    images: Images,
    end: Checkpoint,
    deadline: float = math.inf,
) -> dict:
    """What stronger and adaptive attacks change of a network's record.

    Args:
        training: the network's settings.
        attack: the attack of the record; stronger ones have its norm and radius.
        images: the data the network was trained on.
        end: its weights.
        deadline: time.time() after which no attack on a batch is begun.

    Returns:
        Plain lists and numbers:

        - `stronger`: `steps`, `alpha` (in 1/255) and `losses` of the attacks.
        - `end`: by the names of the record's trajectory, measures of clean, pgd and targeted
          points, the last two under the stronger attacks, and mean angles; the NCC accuracy of
          pgd points is that under the adaptive attack on the penultimate features.
        - `final`: what `rnc.experiments.leaping` gives of these points.
        - `layers`: `names`, and `ncc_accuracy` under an adaptive attack on each layer that takes
          as many steps as the record's attack, or under that attack where it finds more.
        - `measuring_seconds`.

    Raises:
        OutOfTime: the deadline came first.
    """
    began = time.monotonic()
    y, k = images.y, len(images.classes)
    model = build(training, images).eval()
    model.load_state_dict(end.model)
    noise = Generator(y.device).manual_seed(1)  # other starts than the record's attack
    more = longer(attack)

    def search(
        model: Model,
        labels: Tensor,
        tried: list[Tensor],
        attack: Attack = more,
        losses: Iterable[str] = LOSSES,
        targeted: bool = False,
    ) -> Tensor:
        """The strongest of what was tried and of one attack for each loss."""
        size = attack_arguments(attack) | {"targeted": targeted, "generator": noise}
        batches = progress(x["clean"].split(BATCH), what, math.ceil(len(y) / BATCH))
        others = (perturbed.split(BATCH) for perturbed in tried)
        found = []
        for part, part_labels, *rest in zip(batches, labels.split(BATCH), *others, strict=True):
            if time.time() > deadline:
                raise OutOfTime(f"{training.slug} stopped amid stronger attacks")
            with autocast(training, y.device):  # as the record's own attack
                rest += [pgd(model, part, part_labels, loss=loss, **size) for loss in losses]
            found.append(strongest(model, part_labels, rest, targeted))
        return torch.cat(found)

    def ncc_accuracy(layer: str, tried: list[Tensor], **named) -> float:
        ncc = ncc_classifier(model, layer, x["clean"], y, k)
        return _accuracy(ncc, search(ncc, y, tried, **named), y)

    what = f"stronger attacks on {training.label}, seed {training.seed}: batch"
    with reproducible(y.device):
        x = perturbations(training, model, images, attack)
        points = {
            "clean": x["clean"],
            "pgd": search(model, y, [x["pgd"]]),
            "targeted": search(model, (y + 1) % k, [x["targeted"]], targeted=True),
        }
        read = {name: read_out(model, found) for name, found in points.items()}
        row = at_epoch(model, images, read)
        row["pgd"]["ncc_accuracy"] = ncc_accuracy("penultimate", [x["pgd"], points["pgd"]])
        same = {"attack": attack, "losses": ["margin"]}
        result = {
            "stronger": {"steps": more.steps, "alpha": more.alpha, "losses": list(LOSSES)},
            "end": row,
            "final": leaping(images, read),
            "layers": {
                "names": model.layers,
                "ncc_accuracy": [ncc_accuracy(n, [x["pgd"]], **same) for n in model.layers],
            },
        }
    return plain(result | {"measuring_seconds": round(time.monotonic() - began, 1)})


def under_stronger(record: dict, stronger: dict) -> dict:
    """A record with the values of the stronger attacks, for the same tests to judge.

    Replaced are the end of the trajectory, `final`, and the layers' perturbed NCC accuracy; the
    rest, such as earlier epochs and the sweep, is the record's own.

    Raises:
        Mismatch: they were measured on different networks of the same settings, such as one
            that came with the book and one that another processor trained.
    """
    own, other = record["trajectory"]["clean"]["loss"][-1], stronger["end"]["clean"]["loss"]
    if not math.isclose(own, other, rel_tol=1e-3):  # on a GPU the last digits differ
        raise Mismatch(
            f"a record and its stronger attacks are of two networks (their losses are {own} and "
            f"{other}): the one that came with the book was trained elsewhere; set RNC_RECORDS "
            f"to an empty folder to make both here"
        )
    record = copy.deepcopy(record)
    _replace_ends(record["trajectory"], stronger["end"])
    record["final"] = stronger["final"]
    record["layers"]["perturbed"]["ncc_accuracy"] = stronger["layers"]["ncc_accuracy"]
    return record


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
    for images, labels in zip(x.split(BATCH), y.split(BATCH), strict=True):
        means.update(features(model, images, [layer])[1][layer], labels)
    centres = means.means
    return lambda images: ncc_logits(outputs(model, images, [layer])[1][layer], centres)


@torch.no_grad()
def _margin(model: Model, x: Tensor, y: Tensor) -> Tensor:
    return margin(model(x), y)


def _accuracy(model: Model, x: Tensor, y: Tensor) -> float:
    """Of points that the classifier is sure of one way or the other; a tie is a mistake."""
    parts = zip(x.split(BATCH), y.split(BATCH), strict=True)
    return float(torch.cat([_margin(model, *part) < 0 for part in parts]).double().mean())


def _replace_ends(curves: dict, values: dict) -> None:
    for name, value in values.items():
        if isinstance(value, dict):
            _replace_ends(curves[name], value)
        else:
            curves[name][-1] = value
