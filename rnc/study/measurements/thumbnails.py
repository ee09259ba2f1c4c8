"""The images behind the points of a drawing: clean, attacked, and what the attack added."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from rnc.study.measurements.drawing import Drawing
from rnc.study.measurements.measurement import Parts, measurement
from rnc.study.measurements.subject import Subject

MAGNIFIED = 20  # the perturbation, around mid-grey
SHADES = 5  # of the magnified perturbation in each channel: noise of 256 shades is no small file
COLUMNS = 20  # thumbnails in a row of a sheet
LIGHT = 64_000  # bytes of a sheet of images
QUALITIES = (95, 90, 85, 80)  # of WebP, where it is more than that without loss


@measurement(
    version=1,
    passes=lambda attack: 4 * attack.steps + 4,
    when=lambda evaluation: False,
)
def thumbnails(subject: Subject, part: Parts) -> dict:
    """The images of the points in the `drawing` of the sweep, in its order.

    Returns:
        A dictionary of

        - `points`: which of the measured points they are, from 0.
        - `eps`: radius of the attack, the evaluation's own, in 1/255.
        - `predicted`: labels of the attacked images; those of the drawing at this radius.
        - `size`: height and width of an image in pixels; `columns`: images in a row of a sheet.
        - `clean`, `attacked`: sheets; without loss if they are LIGHT so, or else at the first of
          QUALITIES at which they are, or the last. For CIFAR-10 that is 80: a pixel differs by
          4/255 to 6/255 on average.
        - `perturbation`: sheet of 0.5 + MAGNIFIED times the difference of the two, as it was
          before any loss, cut off at 0 and 1, and rounded to SHADES.

        A sheet is WebP in base64.
    """
    drawn = Drawing(subject.read, subject.y).drawn
    clean, attacked = (subject.points[kind][drawn] for kind in ("clean", "pgd"))
    return {
        "points": drawn,
        "eps": subject.attack.eps,
        "predicted": subject.read["pgd"][0].argmax(1)[drawn],
        "size": list(clean.shape[2:]),
        "columns": COLUMNS,
        "clean": _light(sheet(clean)),
        "perturbation": _webp(sheet(magnified(clean, attacked)), lossless=True),
        "attacked": _light(sheet(attacked)),
    }


def magnified(clean: Tensor, attacked: Tensor) -> Tensor:
    """What an attack added, N x C x H x W, visible: see `thumbnails`."""
    shown = (0.5 + MAGNIFIED * (attacked - clean)).clamp(0, 1)
    return (shown * (SHADES - 1)).round() / (SHADES - 1)


def sheet(x: Tensor) -> Image.Image:
    """Images, N x C x H x W in [0, 1], with one or three channels, COLUMNS in a row; what is left
    of the last row is black."""
    x = F.pad(x, (0, 0, 0, 0, 0, 0, 0, -len(x) % COLUMNS)).expand(-1, 3, -1, -1)
    rows = x.unflatten(0, (-1, COLUMNS)).permute(0, 3, 1, 4, 2)  # row, y, column, x, channel
    pixels = rows.flatten(2, 3).flatten(0, 1).mul(255).round().byte()
    return Image.fromarray(np.ascontiguousarray(pixels.cpu().numpy()))


def _light(image: Image.Image) -> str:
    for options in ({"lossless": True}, *({"quality": quality} for quality in QUALITIES)):
        if len(found := _webp(image, **options)) * 3 / 4 <= LIGHT:
            break
    return found


def _webp(image: Image.Image, **options) -> str:
    """In base64, as small as WebP's slowest method makes it."""
    file = io.BytesIO()
    image.save(file, "WEBP", method=6, **options)
    return base64.b64encode(file.getvalue()).decode()
