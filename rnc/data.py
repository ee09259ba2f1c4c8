"""Data sets as tensors on the device, pixels in [0, 1], with mean, std and class names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

CONTRAST = 0.4  # of the digits; see `digits`
PER_CLASS = 50


@dataclass(frozen=True)
class Images:
    """Labelled images of one data set.

    Attributes:
        x: train images, N x C x H x W, float32 in [0, 1].
        y: train labels, N, int64 in 0..K-1.
        x_test, y_test: the same for the test images.
        classes: names of the K classes.
        mean, std: per channel, over the pixels of the train images.
    """

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load(dataset: str, device: str = "cpu") -> Images:
    """The images of a data set, on a device.

    Args:
        dataset: "digits".
        device: a torch device.
    """
    x, y, x_test, y_test, classes = {"digits": digits}[dataset]()
    pixels = x.double().transpose(0, 1).flatten(1)
    return Images(
        *(t.to(device) for t in (x, y, x_test, y_test)),
        classes=classes,
        mean=tuple(pixels.mean(1).tolist()),
        std=tuple(pixels.std(1, correction=0).tolist()),
    )


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[str, ...]]:
    """Low-contrast handwritten digits: 500 train and 500 test images of 3 x 16 x 16.

    The UCI optical digits (1,797 real images of 8 x 8) that scikit-learn ships, enlarged by
    bilinear interpolation, at a contrast of 0.4 around mid-grey. Reducing the contrast makes
    a ball of radius 8/255 as large, relative to the image, as 20/255 at full contrast: large
    enough that attacks succeed on so easy a task. Per class, a fixed permutation gives 50
    train and 50 test images.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = torch.from_numpy(bunch.images / 16.0).float()[:, None]
    x = interpolate(x, size=(16, 16), mode="bilinear", align_corners=False)
    x = (0.5 + CONTRAST * (x - 0.5)).expand(-1, 3, -1, -1)
    generator = np.random.default_rng(0)
    train, test = [], []
    for c in range(10):
        order = generator.permutation(np.flatnonzero(bunch.target == c))
        train.append(order[:PER_CLASS])
        test.append(order[PER_CLASS : 2 * PER_CLASS])
    train, test = np.concatenate(train), np.concatenate(test)
    y = torch.from_numpy(bunch.target).long()
    return (
        x[train].contiguous(),
        y[train],
        x[test].contiguous(),
        y[test],
        tuple(str(c) for c in range(10)),
    )
