"""What the chapter on mixup measures, a network at a time; results are kept in the store."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn

from rnc.errors import check_number, check_one_of, check_positive, check_whole
from rnc.neighbours.mixup.attacked import (
    KINDS,
    SWEEP,
    collapse,
    corners,
    landing,
    perturbed,
    reliability,
    robust,
)
from rnc.neighbours.mixup.geometry import Frame, check_classes, of_mixes
from rnc.neighbours.mixup.mixes import Pairs
from rnc.neighbours.neighbour import experiment
from rnc.study import data, notebook, store
from rnc.study.data import DATASETS, Images, unit
from rnc.study.methods import METHODS, MIXUP_MSE
from rnc.study.settings import Study, Training, seeds_of
from rnc.study.training import build
from rnc.surveys import read_out

NETWORKS = ("st", "mixup", "mixup_mse", "mixup_etf")  # names of experiments
SCALES = {"digits": "quick", "cifar10-small": "cifar10-small"}  # presets of the book
SQUARED_RATE = 0.02  # the learning rate of a cross-entropy is too much for a squared error
ROBUST = 2  # eps of the comparison of accuracy under attack, in 1/255
DRAWN, DRAWN_SAME = 60, 25  # mixes in the picture, of a pair of classes and of a class


@dataclass(frozen=True)
class Settings:
    """What a reader can change.

    Attributes:
        scale: data and network: "digits", or "cifar10-small".
        epochs: of every network, ST too.
        mixing: alpha of mixup, which draws lambda from Beta(alpha, alpha). (In this book `alpha`
            is the step of an attack.)
        classes: three, of the picture.
        eps: radius of the attack (l_inf), in 1/255.
        steps: of the attack; there is one of ten times as many too.
        seeds: of the networks.
    """

    scale: str = "digits"
    epochs: int = 130
    mixing: float = 1.0
    classes: tuple[int, ...] = (0, 1, 2)
    eps: float = 8.0
    steps: int = 10
    seeds: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        check_one_of("scale", self.scale, SCALES)
        check_whole("epochs", self.epochs, 1)
        check_whole("steps", self.steps, 1)
        check_number("eps", self.eps, 0, " in units of 1/255")
        check_positive("mixing", self.mixing)
        object.__setattr__(self, "classes", tuple(self.classes))
        check_classes(self.classes, DATASETS[self.study.base.dataset].classes)
        object.__setattr__(self, "seeds", seeds_of(self.seeds))

    @classmethod
    def from_notebook(cls, namespace: dict) -> Settings:
        """What a notebook's parameters ask for; classes and seeds such as "0,1,2"."""
        given = notebook.parameters(namespace, cls.__dataclass_fields__)
        if "classes" in given:
            given["classes"] = notebook.whole_numbers("classes", given["classes"], "0,1,2")
        return cls(**given)

    def __str__(self) -> str:
        return f"{DATASETS[self.study.base.dataset].title}, {self.epochs} epochs"

    @property
    def study(self) -> Study:
        """The book's study of this scale and length."""
        return Study.of(SCALES[self.scale], epochs=self.epochs, device="cpu")

    def training(self, method: str, seed: int) -> Training:
        """Settings of one network; those of ST are the same as in the book's other chapters."""
        training = self.study.training(method, seed)
        if method == "st":
            return training
        rate = SQUARED_RATE if training.method is MIXUP_MSE else training.lr
        return replace(training, mixing=self.mixing, lr=rate)


@experiment(version=1, each_seed=True)
def st(settings: Settings, seed: int) -> dict:
    """What `examined` gives of standard training."""
    return examined(settings, "st", seed)


@experiment(version=1, each_seed=True)
def mixup(settings: Settings, seed: int) -> dict:
    """What `examined` gives of mixup with the cross-entropy."""
    return examined(settings, "mixup", seed)


@experiment(version=1, each_seed=True)
def mixup_mse(settings: Settings, seed: int) -> dict:
    """What `examined` gives of mixup with the squared error."""
    return examined(settings, "mixup-mse", seed)


@experiment(version=1, each_seed=True)
def mixup_etf(settings: Settings, seed: int) -> dict:
    """What `examined` gives of mixup with a fixed simplex as classifier."""
    return examined(settings, "mixup-etf", seed)


def examined(settings: Settings, method: str, seed: int) -> dict:
    """A network, trained if it is not in the store, and all that the chapter measures of it.

    Returns:
        `clean`, accuracy and `collapse` on training points; `mixes` and `mixes_train`, what
        `of_mixes` gives with BatchNorm in eval mode and in train mode; `attacked`, by attack,
        `landing` and `collapse`; `sweep`, by eps, `landing` under PGD; `robust`, on `train` and
        `test`; `reliability` on test images; `picture`, see `_picture`, with `attacked`, see
        `corners`.
    """
    training = settings.training(method, seed)
    images = data.load(training.dataset, "cpu", training.per_class)
    model = network(training, images)
    x, y, weight = unit(images.x), images.y, model.classifier.weight
    logits, h = read_out(model, x)
    frame = Frame.of(h, y, weight)
    mixes = of_mixes(model, x, y, frame, seed)

    def land(logits: Tensor, h: Tensor) -> dict:
        return landing(logits, h, y, frame, mixes["margin"])

    def under(kind: str, eps: float) -> tuple[Tensor, Tensor]:
        points = perturbed(kind, model, x, y, eps, settings.steps, seed)
        return read_out(model, points)

    at = {kind: under(kind, settings.eps) for kind in KINDS}
    swept = {eps: at["pgd"] if eps == settings.eps else under("pgd", eps) for eps in SWEEP}
    test = unit(images.x_test), images.y_test
    return {
        "method": METHODS[method].title,
        "clean": land(logits, h) | {"collapse": collapse(logits, h, y, weight)},
        "mixes": mixes,
        "mixes_train": of_mixes(copy.deepcopy(model).train(), x, y, frame, seed),
        "attacked": {
            name: land(*read) | {"collapse": collapse(*read, y, weight)}
            for name, read in at.items()
        },
        "sweep": [land(*read) for read in swept.values()],
        "robust": {
            part: robust(model, *points, ROBUST, seed)
            for part, points in {"train": (x, y), "test": test}.items()
        },
        "reliability": reliability(read_out(model, test[0])[0], test[1]),
        "picture": _picture(model, x, y, frame, settings.classes, seed)
        | {"attacked": corners(at["pgd"][0], y, mixes["margin"])},
    }


def network(training: Training, images: Images) -> nn.Module:
    """A trained network, in eval mode."""
    model = build(training, images).eval()
    model.load_state_dict(store.trained(training, images))
    return model


def _picture(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    frame: Frame,
    classes: tuple[int, ...],
    seed: int,
) -> dict:
    """Mixes in the plane of three classes (see `Frame.plane`), x and y of each, three digits.

    Returns:
        `rows`, of the classifier; `same` and `mixed`, mixes of one class and of two, with lambda
        uniform in [0, 1], and for the latter `lambda`.
    """
    plane, noise = frame.plane(classes), Generator().manual_seed(seed)
    pairs = {
        "same": Pairs.between(y, [(c, c) for c in classes], DRAWN_SAME, seed),
        "mixed": Pairs.between(
            y, [(a, b) for a in classes for b in classes if a < b], DRAWN, seed
        ),
    }
    found: dict = {"classes": classes, "rows": frame.rows[list(classes)] @ plane}
    for name, some in pairs.items():
        shares = torch.rand(len(some.first), generator=noise)
        _, h = read_out(model, some.mixed(x, shares))
        found[name] = frame.centred(h) @ plane
        if name == "mixed":
            found["lambda"] = shares.double()
    return {
        name: value.round(decimals=3)
        if torch.is_tensor(value) and value.is_floating_point()
        else value
        for name, value in found.items()
    }
