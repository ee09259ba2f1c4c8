"""A trained network with the points it is measured on, and what measurements of it share.

Everything is measured on the training points (the paper is about the terminal phase of
training), with BatchNorm in eval mode and in float32, attacks included: a weak attack must not
come from rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Generator, Tensor, nn

from rnc.attacks import Model, gaussian, pgd
from rnc.study.data import Images, first_of_each, unit
from rnc.study.methods import ST
from rnc.study.settings import Attack, Evaluation, Training
from rnc.study.training import build
from rnc.surveys import batch_size, class_means, read_out

Read = dict[str, tuple[Tensor, Tensor]]  # by kind of points, logits N x K and features N x D


class Subject:
    """What a measurement is given.

    Args:
        training, evaluation: the settings.
        images: the data that the network was trained on.
        weights: gives the state of the network after an epoch of `training.snapshots()`.
        epoch: after which the network is looked at; None: after the last.
        trained: gives the last state of the network of another training on the same images; None:
            there is no other.

    Attributes:
        x, y: the measured points, N x C x H x W in [0, 1], and their labels, N.
        num_classes: K.
    """

    def __init__(
        self,
        training: Training,
        evaluation: Evaluation,
        images: Images,
        weights: Callable[[int], dict[str, Tensor]],
        epoch: int | None = None,
        trained: Callable[[Training], dict[str, Tensor]] | None = None,
    ):
        self.training, self.evaluation, self.images = training, evaluation, images
        self.trained = trained
        self.weights, self.epoch = weights, training.epochs if epoch is None else epoch
        self.attack, self.num_classes = evaluation.attack, len(images.classes)
        x, self.y = first_of_each(images.x, images.y, evaluation.per_class)
        self.x = unit(x)

    def at(self, epoch: int) -> Subject:
        """The same with the network after another epoch."""
        if epoch == self.epoch:
            return self
        return Subject(
            self.training, self.evaluation, self.images, self.weights, epoch, self.trained
        )

    @functools.cached_property
    def model(self) -> nn.Module:
        """The network, in eval mode."""
        return self._network(self.training, self.weights(self.epoch))

    @functools.cached_property
    def surrogate(self) -> nn.Module | None:
        """Of a transfer attack: the network that ST ends in with the same settings; None if that
        is this one."""
        plain = replace(self.training, method=ST, attack=None)
        if plain == self.training or self.trained is None:
            return None
        return self._network(plain, self.trained(plain))

    def _network(self, training: Training, state: dict[str, Tensor]) -> nn.Module:
        model = build(training, self.images).eval()
        model.load_state_dict(state)
        return model

    @functools.cached_property
    def points(self) -> dict[str, Tensor]:
        """The points and their perturbations; see `perturbations`."""
        return perturbations(self.model, self.x, self.y, self.num_classes, self.attack)

    @functools.cached_property
    def read(self) -> Read:
        """What the network makes of `points`."""
        return {kind: read_out(self.model, x) for kind, x in self.points.items()}

    @functools.cached_property
    def read_test(self) -> Read:
        """What the network makes of the test images, clean and attacked (pgd)."""
        x, y = unit(self.images.x_test), self.images.y_test
        noise = Generator(y.device).manual_seed(0)
        points = {"clean": x, "pgd": attacked(self.model, x, y, self.attack, noise)}
        return {kind: read_out(self.model, x) for kind, x in points.items()}

    @functools.cached_property
    def clean_means(self) -> Tensor:
        """Class means of the clean points, K x D, float64."""
        return class_means(self.read["clean"][1], self.y, self.num_classes)


def perturbations(
    model: nn.Module, x: Tensor, y: Tensor, num_classes: int, attack: Attack
) -> dict[str, Tensor]:
    """The points: clean, attacked, with Gaussian noise, and attacked towards y + 1."""
    noise = Generator(x.device).manual_seed(0)
    return {
        "clean": x,
        "pgd": attacked(model, x, y, attack, noise),
        "gauss": gaussian(x, eps=attack.eps / 255, norm=attack.norm, generator=noise),
        "targeted": attacked(model, x, (y + 1) % num_classes, attack, noise, targeted=True),
    }


def attacked(
    model: Model,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    noise: Generator,
    **options,
) -> Tensor:
    """All points under PGD, a batch at a time; options are those of `rnc.pgd`."""
    # images of a data set are in [0, 1], and to look would wait for a GPU
    options = attack.size | {"generator": noise, "check": False} | options
    parts = zip(x.split(batch_size(x)), y.split(batch_size(x)), strict=True)
    return torch.cat([pgd(model, *part, **options) for part in parts])
