"""Do the findings survive stronger attacks, and attacks on the very thing that is measured?

The paper attacks the network's cross-entropy with PGD-10. Two audits that it does not have:

- *Stronger*: PGD-50, once on the cross-entropy and once on the margin (Carlini and Wagner 2017);
  each point gets whatever moved it most, the paper's own attack included.
- *Adaptive* (Tramer et al. 2020): the NCC classifier is measured on perturbations that were
  found against it, not on those found against the network.

Attacks are in float32, and everything is measured on the training points, as in `experiments`.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable

import torch
from torch import Generator, Tensor, nn

from rnc.attacks import LOSSES, Model, margin, pgd
from rnc.collapse import ClassMeans, ncc_logits
from rnc.config import Attack, Training
from rnc.data import Images
from rnc.experiments import BATCH, at_epoch, leaping, perturbations, plain, read_out
from rnc.models import features, outputs
from rnc.progress import progress
from rnc.training import Checkpoint, attack_arguments, build, reproducible

STEPS = 50


def measure_stronger(training: Training, attack: Attack, images: Images, end: Checkpoint) -> dict:
    """What stronger and adaptive attacks change of a network's record.

    Args:
        training: the network's settings.
        attack: the attack of the record; stronger ones have its norm and radius.
        images: the data the network was trained on.
        end: its weights.

    Returns:
        Plain lists and numbers:

        - `end`: measures of pgd and targeted points under the stronger attacks, and mean angles,
          by the names of the record's trajectory; the NCC accuracy of pgd points is that under
          the adaptive attack on the penultimate features.
        - `final`: what `rnc.experiments.leaping` gives of these points.
        - `layers`: `names`, and `ncc_accuracy` under an adaptive attack on each layer that takes
          as many steps as the record's attack.
        - `measuring_seconds`.
    """
    began = time.monotonic()
    y, k = images.y, len(images.classes)
    model = build(training, images).eval()
    model.load_state_dict(end.model)
    noise = Generator(y.device).manual_seed(0)
    # steps of 2.5 eps/steps can cross the ball (Madry et al. 2018)
    longer = Attack(attack.norm, attack.eps, 2.5 * attack.eps / STEPS, STEPS)
    what = f"stronger attacks on {training.label}, seed {training.seed}:"
    with reproducible(y.device):
        x = perturbations(training, model, images, attack)
        clean, target = x["clean"], (y + 1) % k

        def ncc_accuracy(layer: str, attack: Attack, losses: Iterable[str] = LOSSES) -> float:
            ncc = ncc_classifier(model, layer, clean, y, k)
            found = strongest(ncc, clean, y, x["pgd"], attack, noise, what, losses)
            return _accuracy(ncc, found, y)

        points = {
            "clean": clean,
            "pgd": strongest(model, clean, y, x["pgd"], longer, noise, what),
            "targeted": strongest(
                model, clean, target, x["targeted"], longer, noise, what, targeted=True
            ),
        }
        read = {name: read_out(model, found) for name, found in points.items()}
        row = at_epoch(model, images, read)
        row["pgd"]["ncc_accuracy"] = ncc_accuracy("penultimate", longer)
        result = {
            "end": {name: value for name, value in row.items() if name != "clean"},
            "final": leaping(images, read),
            "layers": {
                "names": model.layers,
                "ncc_accuracy": [ncc_accuracy(n, attack, ["margin"]) for n in model.layers],
            },
        }
    return plain(result | {"measuring_seconds": round(time.monotonic() - began, 1)})


def under_stronger(record: dict, stronger: dict) -> dict:
    """A record as if the stronger attacks had been its own, for the same tests to judge."""
    record = copy.deepcopy(record)
    _replace_ends(record["trajectory"], stronger["end"])
    record["final"] = stronger["final"]
    record["layers"]["perturbed"]["ncc_accuracy"] = stronger["layers"]["ncc_accuracy"]
    return record


def strongest(
    model: Model,
    x: Tensor,
    y: Tensor,
    found: Tensor,
    attack: Attack,
    generator: Generator,
    what: str,
    losses: Iterable[str] = LOSSES,
    targeted: bool = False,
) -> Tensor:
    """For each point the perturbation that moves its margin most.

    Args:
        model: from images to logits.
        x: images, N x C x H x W; y: labels, or targets if `targeted`, N.
        found: perturbed images that are among those to choose from.
        attack: of the others, one for each loss.
        generator: source of their random starts.
        what: shown with the progress.
        losses: names in `rnc.attacks.LOSSES`.
    """
    sign = -1 if targeted else 1
    parts = list(zip(x.split(BATCH), y.split(BATCH), found.split(BATCH), strict=True))
    chosen = []
    for images, labels, best in progress(parts, f"{what} batch", len(parts)):
        moved = sign * _margin(model, best, labels)
        for loss in losses:
            tried = pgd(
                model,
                images,
                labels,
                loss=loss,
                targeted=targeted,
                generator=generator,
                **attack_arguments(attack),
            )
            by = sign * _margin(model, tried, labels)
            best = torch.where((by > moved).view(-1, 1, 1, 1), tried, best)
            moved = torch.maximum(by, moved)
        chosen.append(best)
    return torch.cat(chosen)


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
