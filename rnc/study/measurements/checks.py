"""Is a network robust, or does the attack fail? Checks of Carlini et al. (2019), and AutoAttack.

An attack that works leaves no accuracy once its ball holds every image, is hardly helped by
further random starts, and finds more than perturbations that were made for another network.
"""

from __future__ import annotations

import copy

import torch
from torch import Generator, Tensor

from rnc.errors import UserError
from rnc.models import features
from rnc.progress import progress
from rnc.study.data import first_of_each, unit
from rnc.study.measurements.measurement import Parts, columns, measurement
from rnc.study.measurements.subject import Subject, attacked
from rnc.surveys import batch_size, share

MULTIPLES = (1, 2, 4, 8, 16)  # of the attack's radius
STARTS = 5
PER_CLASS = 10  # of training and of test points, for AutoAttack
NORMS = {"linf": "Linf", "l2": "L2"}


@measurement(
    version=1,
    passes=lambda attack: 2 * attack.steps * (len(MULTIPLES) + STARTS + 1) + 1,
    when=lambda evaluation: False,
)
def checks(subject: Subject, part: Parts) -> dict:
    """Accuracy on the training points under what tells robustness from an attack that fails.

    Returns:
        A dictionary of

        - `radii`: multiples of the attack's radius, in 1/255; `accuracy` under PGD there.
        - `starts`: accuracy on points for which none of the first 1, 2, ... random starts of the
          attack succeeds.
        - `transfer`: accuracy on the perturbations of the attack that were made for the network
          that ST ends in at the same seed; nan of that network itself.
    """
    model, y, attack = subject.model, subject.y, subject.attack

    def right(x: Tensor) -> Tensor:
        logits = [features(model, images, [])[0] for images in x.split(batch_size(x))]
        return torch.cat(logits).argmax(1) == y

    def at(multiple: int) -> dict:
        noise = Generator(y.device).manual_seed(0)
        stretched = attack.at_radius(multiple * attack.eps)
        found = attacked(model, subject.x, y, stretched, noise)
        return {"radii": stretched.eps, "accuracy": share(right(found))}

    def starts() -> list[float]:
        noise, left, shares = Generator(y.device).manual_seed(2), torch.ones_like(y).bool(), []
        for _ in progress(range(STARTS), f"attacking {subject.training}: start", STARTS):
            left &= right(attacked(model, subject.x, y, attack, noise))
            shares.append(share(left))
        return shares

    def transfer() -> float:
        surrogate = subject.surrogate
        if surrogate is None:
            return float("nan")
        noise = Generator(y.device).manual_seed(0)
        return share(right(attacked(surrogate, subject.x, y, attack, noise)))

    shown = progress(MULTIPLES, f"attacking {subject.training}: radius", len(MULTIPLES))
    rows = [part(f"{multiple} eps", lambda multiple=multiple: at(multiple)) for multiple in shown]
    return columns(rows) | {
        "starts": part("starts", starts),
        "transfer": part("transfer", transfer),
    }


@measurement(
    version=1,
    passes=lambda attack: 5000,  # most of them of the attack that asks for no gradients
    when=lambda evaluation: False,
)
def autoattack(subject: Subject, part: Parts) -> dict:
    """AutoAttack (Croce and Hein 2020), the standard version, on a few points of each class.

    Returns:
        For `train` and `test` points: how many `points`, and the accuracy on them `clean`, under
        the record's attack (`pgd`) and under AutoAttack (`autoattack`).

    Raises:
        UserError: the package pyautoattack is not installed.
    """
    try:
        from pyautoattack import AutoAttack
    except ImportError as error:
        raise UserError("AutoAttack needs pyautoattack: pip install pyautoattack") from error
    images, attack = subject.images, subject.attack
    # it asks for views that the layout of the subject does not have
    plain = {"memory_format": torch.contiguous_format}
    model = copy.deepcopy(subject.model).to(**plain)

    def under(x: Tensor, y: Tensor) -> dict:
        x, y = first_of_each(x, y, PER_CLASS)
        x = unit(x).contiguous(**plain)
        noise = Generator(y.device).manual_seed(0)
        standard = AutoAttack(
            model, norm=NORMS[attack.norm], eps=attack.eps / 255, seed=0, device=y.device
        )
        points = {
            "clean": x,
            "pgd": attacked(model, x, y, attack, noise),
            "autoattack": standard.run_standard_evaluation(x, y, batch_size=batch_size(x))[0],
        }
        found = {
            name: share(features(model, x, [])[0].argmax(1) == y) for name, x in points.items()
        }
        return {"points": len(y)} | found

    return {
        "train": part("train", lambda: under(images.x, images.y)),
        "test": part("test", lambda: under(images.x_test, images.y_test)),
    }
