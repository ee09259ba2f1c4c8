"""The page on which a reader attacks a network: the network's weights for a browser, and a still.

A browser gets convolutions into which BatchNorm is folded, in float16, and a plane to look at:
the linear map of penultimate features that sends the K class means to a regular polygon, the
shadow of their simplex. PGD itself runs there, from the template, and must give what `rnc.pgd`
gives.
"""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rnc.attacks import pgd
from rnc.models import VGG11, features, frozen
from rnc.show.plots import styled
from rnc.show.tables import Table, table
from rnc.study import data, store
from rnc.study.data import Images
from rnc.study.measurements.thumbnails import MAGNIFIED
from rnc.study.settings import Study
from rnc.study.training import build

METHODS = {"st": "standard training", "at": "adversarial training"}  # that are attacked
NAME = "RNC_NETWORKS"  # of what the script gives the page
CLOUD = 12  # train images of each class that are drawn


@dataclass(frozen=True)
class Playground:
    """What the page attacks.

    Attributes:
        study: whose networks they are, and whose attack comes first.
        images: the data.
        networks: by title of the method.
        chosen: a test image of each class to choose from.
    """

    study: Study
    images: Images
    networks: dict[str, VGG11]
    chosen: Tensor

    @classmethod
    def of(cls, study: Study) -> Playground:
        """The networks of a study's first seed, from the store; what is missing is trained.

        Args:
            study: of VGG11 on the digits.
        """
        images, networks = data.load(study.base.dataset), {}
        for name in METHODS:
            training = study.training(name)
            model = build(training, images)
            model.load_state_dict(store.trained(training, images))
            networks[training.method.title] = model.eval()
        return cls(study, images, networks, _chosen(images, networks))

    def script(self) -> str:
        """Networks, images and settings, as a script: a page from a file can fetch no others."""
        attack = self.study.evaluation.attack
        x, y = self.images.x_test[self.chosen, 0], self.images.y_test[self.chosen]
        content = {
            "classes": self.images.classes,
            "eps": attack.eps,
            "alpha": attack.alpha,
            "steps": attack.steps,
            "magnified": MAGNIFIED,
            "contrast": data.CONTRAST,
            "images": [
                {"label": int(label), "pixels": np.round(pixels.flatten().tolist(), 5).tolist()}
                for pixels, label in zip(x, y, strict=True)
            ],
            "networks": {
                title: exported(model) | shadow(model, self.images)
                for title, model in self.networks.items()
            },
        }
        return f"window.{NAME} = {json.dumps(content, separators=(',', ':'))};\n"

    def page(self) -> Table:
        """The part of the page that can be touched."""
        return table(
            "playground.html",
            networks=dict(zip(self.networks, METHODS.values(), strict=True)),
            classes=self.images.classes,
            labels=self.images.y_test[self.chosen].tolist(),
            attack=self.study.evaluation.attack,
            magnified=MAGNIFIED,
            setting=str(self.study.first_seed()),
            stills=[(title, *names) for title, *_, names in self._stills()],
        )

    def _stills(self) -> list[tuple[str, Tensor, Tensor, list[str]]]:
        """Of each network: its title, an image, the attacked one, and what it takes them for."""
        attack = self.study.evaluation.attack
        one = self.chosen[:1]
        x, y = self.images.x_test[one], self.images.y_test[one]
        found = []
        for title, model in self.networks.items():
            attacked = pgd(model, x, y, **attack.size, random_start=False)
            with torch.no_grad():
                guesses = model(torch.cat([x, attacked])).argmax(1).tolist()
            found.append((title, x[0], attacked[0], [self.images.classes[g] for g in guesses]))
        return found

    @styled
    def still(self) -> Figure:
        """An image, its perturbation and the attacked image, a row for each network."""
        stills = self._stills()
        figure, axes = plt.subplots(len(stills), 3, figsize=(6.4, 2.3 * len(stills)))
        for row, (title, x, attacked, (before, after)) in zip(axes, stills, strict=True):
            shown = {
                f"{title}: taken for {before}": x,
                f"perturbation × {MAGNIFIED}": 0.5 + MAGNIFIED * (attacked - x),
                f"attacked: taken for {after}": attacked,
            }
            for axis, (name, image) in zip(row, shown.items(), strict=True):
                axis.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy())
                axis.set(title=name)
                axis.axis("off")
        return figure


def exported(model: VGG11) -> dict:
    """A network for a browser, as JSON.

    Returns:
        mean, std: of its images, per channel.
        convs: for each 3 x 3 convolution the shape of its weights, height x width x in x out,
            and whether a 2 x 2 max pool comes after it where there is something left to pool.
        weights: float16, little-endian, base64: of each convolution the weights and bias, then
            those of the classifier, D x K and K.
    """
    convs, parts = [], []
    for name in model.layers:
        block = model.get_submodule(name)
        with frozen(block):
            conv = fuse_conv_bn_eval(block.conv, block.bn)
        weight = conv.weight.permute(2, 3, 1, 0)
        convs.append({"shape": list(weight.shape), "pool": block.pool})
        parts += [weight, conv.bias]
    parts += [model.classifier.weight.T, model.classifier.bias]
    numbers = np.concatenate([part.detach().numpy().ravel() for part in parts]).astype("<f2")
    if not np.isfinite(numbers).all():
        raise ValueError("a weight is too large for float16")
    return {
        "mean": model.normalise.mean.flatten().tolist(),
        "std": model.normalise.std.flatten().tolist(),
        "convs": convs,
        "weights": base64.b64encode(numbers.tobytes()).decode(),
    }


def shadow(model: VGG11, images: Images) -> dict:
    """The plane in which features are drawn, as JSON.

    Returns:
        plane, origin: features h are drawn at h @ plane + origin; the K class means, centred at
            their mean, come to lie on the corners of a regular polygon around it.
        corners: of that polygon, K x 2; the first is above.
        cloud: where the first train images of each class lie, N x 2.
    """
    _, found = features(model, data.unit(images.x), ["penultimate"])
    h, classes = found["penultimate"].double(), range(len(images.classes))
    means = torch.stack([h[images.y == c].mean(0) for c in classes])
    angles = 2 * math.pi / len(classes) * torch.arange(len(classes)).double()
    corners = torch.stack([angles.sin(), angles.cos()], 1)
    plane = torch.linalg.pinv(means - means.mean(0)) @ corners
    origin = -means.mean(0) @ plane
    cloud, _ = data.first_of_each(h @ plane + origin, images.y, CLOUD)
    numbers = {"plane": plane, "origin": origin, "corners": corners, "cloud": cloud}
    return {name: np.round(tensor.numpy(), 5).tolist() for name, tensor in numbers.items()}


def _chosen(images: Images, networks: dict[str, VGG11]) -> Tensor:
    """Of each class the first test image that all networks know, as long as there is one."""
    x, y = data.unit(images.x_test), images.y_test
    with torch.no_grad():
        known = torch.stack([model(x).argmax(1) == y for model in networks.values()]).all(0)
    places = [torch.nonzero(y == c).flatten() for c in range(len(images.classes))]
    return torch.stack([place[known[place].int().argmax()] for place in places])
