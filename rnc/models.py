"""VGG11-BN and PreActResNet18 of any width, and the features of any layer of any network.

Both networks take images in [0, 1] and normalise them themselves, so that attacks work in
image units. Both keep the penultimate features as the output of a module named
`penultimate` and the linear classifier as a module named `classifier`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Normalise(nn.Module):
    """(x - mean) / std per channel."""

    def __init__(self, mean: Iterable[float], std: Iterable[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(list(mean)).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std)).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class Fixed(nn.Module):
    """A linear classifier that is not trained, without bias.

    Args:
        weight: its rows, K x D.
    """

    def __init__(self, weight: Tensor):
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


class ConvBlock(nn.Sequential):
    """3 x 3 convolution, BatchNorm, where asked for a 2 x 2 max pool, and ReLU."""

    def __init__(self, channels_in: int, channels: int, pool: bool):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(channels)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        # A map of 1 x 1, as small images reach it, has nothing left to pool. Pool and ReLU can
        # change places, and on a pooled map ReLU has a quarter of the work.
        return F.relu(F.max_pool2d(x, 2) if self.pool and x.shape[-1] > 1 else x)


class VGG11(nn.Module):
    """VGG11 with BatchNorm (configuration A) and one linear layer, as the paper uses it.

    Args:
        num_classes: K.
        width: channels of the first block, 64 in the paper; the last has 8 times as many.
        mean, std: per channel, of the training images.
    """

    title = "VGG11"

    def __init__(
        self,
        num_classes: int,
        width: int = 64,
        mean: Iterable[float] = (0.0, 0.0, 0.0),
        std: Iterable[float] = (1.0, 1.0, 1.0),
    ):
        super().__init__()
        self.normalise = Normalise(mean, std)
        channels_in = 3
        plan = [(1, True), (2, True), (4, False), (4, True)] + [(8, False), (8, True)] * 2
        self.layers = tuple(f"conv{i}" for i in range(1, len(plan) + 1))
        for name, (multiple, pool) in zip(self.layers, plan, strict=True):
            self.add_module(name, ConvBlock(channels_in, multiple * width, pool))
            channels_in = multiple * width
        self.penultimate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(channels_in, num_classes)
        for module in self.modules():  # the initialisation of the reference code
            if isinstance(module, nn.Conv2d):
                fan_in = 9 * module.in_channels
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_in))
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.normalise(x)
        for name in self.layers:
            x = self.get_submodule(name)(x)
        return self.classifier(self.penultimate(x))


class PreActBlock(nn.Module):
    """Two 3 x 3 convolutions, each after BatchNorm and ReLU, and a shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shortcut = (
            nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            if stride != 1 or channels_in != channels
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(out)
        out = self.conv1(out)
        return self.conv2(F.relu(self.bn2(out))) + shortcut


class PreActResNet18(nn.Module):
    """ResNet18 with pre-activation blocks for small images (He et al. 2016).

    Args:
        num_classes: K.
        width: channels of the first stage, 64 in the paper; the last has 8 times as many.
        mean, std: per channel, of the training images.
    """

    title = "PreActResNet18"

    def __init__(
        self,
        num_classes: int,
        width: int = 64,
        mean: Iterable[float] = (0.0, 0.0, 0.0),
        std: Iterable[float] = (1.0, 1.0, 1.0),
    ):
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        channels_in, names = width, ["stem"]
        for stage, multiple in enumerate((1, 2, 4, 8), start=1):
            for block in (1, 2):
                name = f"block{stage}_{block}"
                stride = 2 if block == 1 and stage > 1 else 1
                self.add_module(name, PreActBlock(channels_in, multiple * width, stride))
                channels_in = multiple * width
                names.append(name)
        self.layers = (*names, "penultimate")
        self.penultimate = nn.Sequential(
            nn.BatchNorm2d(channels_in), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.classifier = nn.Linear(channels_in, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.normalise(x)
        for name in self.layers:
            x = self.get_submodule(name)(x)
        return self.classifier(x)


INPUT = ".input"  # after the name of a module: what goes into it
MODELS = {"vgg11": VGG11, "preactresnet18": PreActResNet18}  # by their name in settings


def num_features(width: int) -> int:
    """Dimension of the penultimate features: both networks end in 8 times their first channels."""
    return 8 * width


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode within the block; every submodule's own mode is put back after it."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@torch.no_grad()
def features(model: nn.Module, x: Tensor, layers: Iterable[str]) -> tuple[Tensor, dict]:
    """Logits of a network and the outputs of some of its layers, for one batch, as numbers.

    The network is read in eval mode and left as it was; arguments, result and errors as in
    `outputs`.
    """
    with frozen(model):
        return outputs(model, x, layers)


class _Reached(Exception):
    """Carries the output of a layer out of the network, of which no more is wanted."""


def output(model: nn.Module, x: Tensor, layer: str) -> Tensor:
    """The output of one layer, N x D, for which the network runs no further than that layer.

    It can be differentiated, and the network is in whatever mode it is in.

    Args:
        model: any network.
        x: its input, N x ...
        layer: the name of a module as in `model.named_modules()`.

    Raises:
        AttributeError: the layer is not in the network.
        KeyError: it was not used by it.
    """

    def stop(module: nn.Module, given: tuple, out: Tensor) -> None:
        raise _Reached(out)

    handle = model.get_submodule(layer).register_forward_hook(stop)
    try:
        model(x)
    except _Reached as reached:
        return reached.args[0].flatten(1)
    finally:
        handle.remove()
    raise KeyError(f"the network has a layer {layer!r} but did not use it")


def outputs(model: nn.Module, x: Tensor, layers: Iterable[str]) -> tuple[Tensor, dict]:
    """Logits of a network and the outputs of some of its layers, for one batch.

    They can be differentiated, and the network is in whatever mode it is in.

    Args:
        model: any network.
        x: its input, N x ...
        layers: names of modules as in `model.named_modules()`; NAME.input is what goes into one,
            such as the features that a classifier is given.

    Returns:
        The logits, and for each layer name its output, flattened to N x D.

    Raises:
        KeyError: a layer is not in the network, or was not used by it.
    """
    modules, found = dict(model.named_modules()), {}
    layers = list(layers)
    for name in layers:
        if name not in modules and name.removesuffix(INPUT) not in modules:
            raise KeyError(f"the network has no layer {name!r}; it has {', '.join(modules)}")

    def keep(name: str, passed: Tensor) -> None:
        # a copy: a ReLU that works in place would change what it is given
        found[name] = passed.flatten(1).clone()

    def hooked(name: str):
        if name in modules:
            return modules[name].register_forward_hook(lambda _, given, out: keep(name, out))
        owner = modules[name.removesuffix(INPUT)]
        return owner.register_forward_pre_hook(lambda _, given: keep(name, given[0]))

    handles = list(map(hooked, layers))
    try:
        logits = model(x)
    finally:
        for handle in handles:
            handle.remove()
    for name in layers:
        if name not in found:
            raise KeyError(f"the network has a layer {name!r} but did not use it")
    return logits, found
