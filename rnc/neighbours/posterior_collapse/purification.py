"""What one does to an image without a thought, and what undoes a perturbation."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


def as_bytes(x: Tensor) -> Tensor:
    """Images in [0, 1] rounded to bytes, uint8."""
    return (255 * x).round().clamp(0, 255).to(torch.uint8)


def rounded(x: Tensor) -> Tensor:
    """Images as a file of 8 bits holds them."""
    return as_bytes(x).float() / 255


def mean_filter(x: Tensor) -> Tensor:
    """Each pixel the mean of 3 x 3, those beyond the border as those on it."""
    return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def jpeg(x: Tensor, quality: int, subsampling: str = "4:2:0") -> Tensor:
    """Images through JPEG; 4:2:0, as is usual, keeps a quarter of the colours, 4:4:4 all."""
    return torch.stack([_through_jpeg(image, quality, subsampling) for image in as_bytes(x)])


def _through_jpeg(image: Tensor, quality: int, subsampling: str) -> Tensor:
    file = io.BytesIO()
    opened = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    opened.save(file, "JPEG", quality=quality, subsampling=subsampling)
    return torch.tensor(np.array(Image.open(file))).permute(2, 0, 1).float() / 255


PURIFICATIONS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {  # by name: title, function
    "none": ("as attacked", lambda x: x),
    "bytes": ("8 bits", rounded),
    "jpeg_444": ("JPEG 100, 4:4:4", lambda x: jpeg(x, 100, "4:4:4")),
    "jpeg": ("JPEG 100, 4:2:0", lambda x: jpeg(x, 100)),
    "jpeg_75": ("JPEG 75, 4:2:0", lambda x: jpeg(x, 75)),
    "mean": ("mean of 3 × 3", mean_filter),
}
