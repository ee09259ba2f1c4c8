"""Images as text: a PNG of 8 bits with one image below the other, in base64, for a record."""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rnc.neighbours.posterior_collapse.purification import as_bytes


def packed(x: Tensor) -> str:
    """Images N x 3 x H x W in [0, 1], rounded to bytes."""
    column = as_bytes(x).permute(0, 2, 3, 1).flatten(0, 1).contiguous()
    file = io.BytesIO()
    Image.fromarray(column.numpy()).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def unpacked(text: str, height: int) -> Tensor:
    """The images of a height that were packed, in [0, 1]."""
    column = np.array(Image.open(io.BytesIO(base64.b64decode(text))))
    images = torch.tensor(column).unflatten(0, (-1, height))
    return images.permute(0, 3, 1, 2).float() / 255
