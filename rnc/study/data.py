"""Data sets as tensors on the device, with mean, std and class names.

`digits` ship with scikit-learn. `cifar10` and `cifar100` come from a copy in the data folder, or
are downloaded there; `cifar10-drawn` has the images of each class in another, random order.
`imagefolder:PATH` is any folder of class folders, `npz:PATH` a file of arrays. A new data set is
one more entry of DATASETS.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from rnc.errors import UserError
from rnc.progress import progress
from rnc.study import folders
from rnc.study.files import Damaged, StoreError, read_tensors, write_tensors

FOLDER = "imagefolder:"  # begins the name of a data set that is a folder of images
ARRAYS = "npz:"  # and of one that is a file of arrays
CONTRAST = 0.4  # of the digits; see `digits`
PER_CLASS = 50
MANY = 10_000  # images in files, whose decoding takes long enough to be done only once
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
TEST_FOLDERS = ("test", "val")

Split = tuple[Tensor, Tensor]  # images and labels
Splits = tuple[Split, Split, tuple[str, ...]]  # train and test images, names of the classes


class DataError(UserError):
    """Images that are not there or cannot be used; the message names the file or class."""


@dataclass(frozen=True)
class Images:
    """Labelled images of one data set, in the order of their classes.

    Attributes:
        x: train images, N x C x H x W: bytes (uint8), or float32 in [0, 1] where the data
            are no bytes; `unit` makes both the latter. Channels are innermost in memory
            (channels_last), which convolutions like better, and so does what is indexed.
        y: train labels, N, int64 in 0..K-1.
        x_test, y_test: the same for the test images.
        classes: names of the K classes.
        mean, std: per channel, over the pixels of the train images, in [0, 1].
    """

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @functools.cached_property
    def digest(self) -> str:
        """Names the pixels and labels: 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for tensor in (self.x, self.y, self.x_test, self.y_test):
            digest.update(np.ascontiguousarray(tensor.cpu().numpy()))
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class DataSet:
    """A source of images.

    Attributes:
        title: in captions and tables.
        read: gives the images, in the order of their classes; its argument: read no more than
            so many of each class, if it is not None.
        classes, per_class, shape: how many there are, and C x H x W of each image; an estimate
            of time wants them before anything is read.
        paper: whether the paper trains on it.
    """

    title: str
    read: Callable[[int | None], Splits]
    classes: int
    per_class: int
    shape: tuple[int, int, int]
    paper: bool = True


def unit(x: Tensor) -> Tensor:
    """Images as float32 in [0, 1]."""
    return x.float() / 255 if x.dtype == torch.uint8 else x


def load(dataset: str, device: str = "cpu", per_class: int | None = None) -> Images:
    """The images of a data set, on a device.

    Args:
        dataset: "digits", "cifar10", "cifar10-drawn", "cifar100", or "imagefolder:PATH" with
            folders PATH/train/CLASS and PATH/test/CLASS (or PATH/val/CLASS) of images of one size;
            "imagefolder:PATH@SIZE" scales the shorter side of each to SIZE and crops the
            centre; "npz:PATH", see `arrays`.
        device: a torch device.
        per_class: keep only the first so many train images of each class, and at most as many
            test images.

    Raises:
        DataError: a data set is not there, or an image or class in it cannot be used.
    """
    return _load(dataset, device, per_class, folders.data())


@functools.lru_cache(maxsize=1)  # the networks of a study share one copy on the device
def _load(dataset: str, device: str, per_class: int | None, folder: Path) -> Images:
    if dataset in DATASETS:
        train, test, classes = DATASETS[dataset].read(per_class)
    elif dataset.startswith(ARRAYS):
        train, test, classes = arrays(Path(dataset.removeprefix(ARRAYS)))
    else:
        train, test, classes = image_folder(*folder_and_size(dataset), per_class)
    (x, y), (x_test, y_test) = (first_of_each(*split, per_class) for split in (train, test))
    counts = torch.bincount(y, minlength=len(classes))
    for name, count in zip(classes, counts.tolist(), strict=True):
        if count < (per_class or 1):
            raise DataError(
                f"per_class must be at most the train images of every class; class {name!r} of "
                f"{dataset} has {count}, and per_class is {per_class}"
            )
    mean, std = zip(*(_moments(x[:, c]) for c in range(x.shape[1])), strict=True)
    x, x_test = (t.to(device, memory_format=torch.channels_last) for t in (x, x_test))
    return Images(x, y.to(device), x_test, y_test.to(device), classes, mean, std)


def digits(per_class: int | None = None) -> Splits:
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
    y = torch.from_numpy(bunch.target).long()
    generator = np.random.default_rng(0)
    train, test = [], []
    for c in range(10):
        order = generator.permutation(np.flatnonzero(bunch.target == c))
        train.append(order[:PER_CLASS])
        test.append(order[PER_CLASS : 2 * PER_CLASS])
    train, test = ((x[i].contiguous(), y[i]) for i in map(np.concatenate, (train, test)))
    return train, test, tuple(str(c) for c in range(10))


def cifar(dataset: str, per_class: int | None = None) -> Splits:
    """CIFAR-10 or CIFAR-100: from a file of arrays or from class folders in the data folder, else
    by torchvision.

    The file is cifar10.npz or cifar100.npz (see `arrays`), and the fastest to read. torchvision
    finds its own copy there, or downloads one with progress on the standard error.
    """
    folder = folders.data()
    if (folder / f"{dataset}.npz").exists():
        return arrays(folder / f"{dataset}.npz")
    if (folder / dataset / "train").is_dir():
        return image_folder(folder / dataset, 0, per_class)
    from torchvision import datasets

    source = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[dataset]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        train, test = (source(folder, train=part, download=True) for part in (True, False))
    except (OSError, RuntimeError) as error:  # no network, no space, or a broken file
        raise DataError(
            f"{DATASETS[dataset].title} is not in {folder} and could not be downloaded ({error}); "
            f"set RNC_DATA to a folder that holds torchvision's copy, {dataset}.npz, or "
            f"{dataset}/train and {dataset}/test with a folder of images for each class"
        ) from error

    def in_order(split) -> Split:
        y = torch.tensor(split.targets)
        order = y.argsort(stable=True)
        return torch.from_numpy(split.data)[order].permute(0, 3, 1, 2).contiguous(), y[order]

    return in_order(train), in_order(test), tuple(train.classes)


def drawn(dataset: str, per_class: int | None = None) -> Splits:
    """CIFAR in another order within each class, so that its first images are as good as drawn at
    random: that of the SHA-256 digests of their pixels, the same for every copy of the data."""

    def in_order(x: Tensor, y: Tensor) -> Split:
        digests = [hashlib.sha256(image.tobytes()).digest() for image in x.numpy()]
        order = sorted(range(len(y)), key=lambda i: (int(y[i]), digests[i]))
        return x[order], y[order]

    train, test, classes = cifar(dataset)
    return in_order(*train), in_order(*test), classes


def folder_and_size(dataset: str) -> tuple[Path, int]:
    """Of imagefolder:PATH@SIZE; size 0 where none is given.

    A folder whose own name ends in an @ and a number is that folder.
    """
    name = dataset.removeprefix(FOLDER)
    sized = re.fullmatch(r"(.+)@(\d+)", name)
    if sized is None or Path(name).is_dir():
        return Path(name), 0
    return Path(sized[1]), int(sized[2])


def image_folder(path: Path, size: int = 0, per_class: int | None = None) -> Splits:
    """Images from folders of classes; arguments and errors as in `load`."""
    test = next((path / name for name in TEST_FOLDERS if (path / name).is_dir()), path / "test")
    for part in (path / "train", test):
        if not part.is_dir():
            raise DataError(f"there is no folder {part}")
    classes = tuple(sorted(entry.name for entry in (path / "train").iterdir() if entry.is_dir()))
    if len(classes) < 2:
        raise DataError(f"{path / 'train'} must have at least two class folders; got {classes}")
    files = {
        split: [_files(part / name)[:per_class] for name in classes]
        for split, part in (("train", path / "train"), ("test", test))
    }
    x = _kept(
        path, size, per_class, {split: [*itertools.chain(*of)] for split, of in files.items()}
    )
    train, test = (
        (x[split], torch.arange(len(classes)).repeat_interleave(torch.tensor([*map(len, of)])))
        for split, of in files.items()
    )
    return train, test, classes


def _kept(
    path: Path, size: int, per_class: int | None, files: dict[str, list[Path]]
) -> dict[str, Tensor]:
    """Images of a folder by split; where there are many they are decoded once, and kept until a
    file changes: beside the folder, or in the store where that cannot be written."""
    if sum(map(len, files.values())) < MANY:
        return _decoded(path, size, files)
    source = hashlib.sha256(PIL.__version__.encode())  # another may decode a JPEG otherwise
    for file in itertools.chain.from_iterable(files.values()):
        found = file.stat()
        source.update(f"{file} {found.st_size} {found.st_mtime_ns}\n".encode())
    notes = {"source": source.hexdigest()}
    folder = path.absolute()
    name = folder.name + f"@{size}" * bool(size) + f"-{per_class}" * bool(per_class)
    places = [at / f"{name}.decoded.safetensors" for at in (folder.parent, folders.store())]
    for place in places:
        try:
            x, kept = read_tensors(place)
        except (OSError, Damaged):
            continue
        if kept == notes:
            return x
    x = _decoded(path, size, files)
    for place in places:
        try:
            write_tensors(place, x, notes)
            break
        except StoreError:  # nor perhaps there: then they are decoded again the next time
            continue
    return x


def _decoded(path: Path, size: int, files: dict[str, list[Path]]) -> dict[str, Tensor]:
    """Images by split, N x C x H x W, from the files of a folder."""
    shape: list = []  # of the first image; all others must have it
    x = {}
    for split, found in files.items():
        images = []
        for file in progress(found, f"reading {path}, {split}: image", len(found)):
            image = _read(file, size)
            shape = shape or [image.shape, file]
            if image.shape != shape[0]:
                raise DataError(
                    f"images must have one size; {shape[1]} has {_size(shape[0])} and {file} has "
                    f"{_size(image.shape)} (scale and crop them with {FOLDER}{path}@SIZE)"
                )
            images.append(torch.from_numpy(image))
        x[split] = torch.stack(images).permute(0, 3, 1, 2).contiguous()
    return x


def arrays(path: Path) -> Splits:
    """Images from an .npz file of NumPy: x, y, x_test, y_test, and if there is one `classes`.

    Images are N x H x W, N x H x W x C or N x C x H x W with one or three channels, as bytes or as
    numbers in [0, 1]; labels are whole numbers from 0; `classes` names them.
    """
    try:
        found = dict(np.load(path))
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not an .npz file that can be read ({error})") from error
    if missing := [name for name in ("x", "y", "x_test", "y_test") if name not in found]:
        raise DataError(f"{path} must hold x, y, x_test and y_test; it lacks {missing[0]}")
    k = int(found["y"].max()) + 1
    classes = tuple(map(str, found.get("classes", range(k))))
    train, test = (_split(path, found, end, len(classes)) for end in ("", "_test"))
    return train, test, classes


def _split(path: Path, found: dict[str, np.ndarray], end: str, k: int) -> Split:
    """One of the two halves of a file of arrays, in the order of its classes."""
    x, y = found[f"x{end}"], found[f"y{end}"]
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3):
        x = x.transpose(0, 3, 1, 2)
    whole = np.issubdtype(y.dtype, np.integer)
    if x.ndim != 4 or x.shape[1] not in (1, 3) or y.shape != x.shape[:1] or not len(y):
        shapes = f"{found[f'x{end}'].shape} and {y.shape}"
        raise DataError(f"x{end} of {path} must be images and y{end} their labels; got {shapes}")
    if not whole or y.min() < 0 or y.max() >= k:
        raise DataError(f"y{end} of {path} must be whole numbers from 0 to {k - 1}")
    if x.dtype != np.uint8 and not (x.min() >= 0 and x.max() <= 1):
        raise DataError(
            f"x{end} of {path} must be bytes or numbers in [0, 1]; got numbers from "
            f"{x.min():g} to {x.max():g}"
        )
    order = np.argsort(y, kind="stable")
    images = np.ascontiguousarray(x[order], None if x.dtype == np.uint8 else np.float32)
    return torch.from_numpy(images), torch.from_numpy(y[order].astype(np.int64))


def _files(home: Path) -> list[Path]:
    found = sorted(p for p in home.glob("*") if p.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(f"every class needs images; there are none in {home}")
    return found


def _read(file: Path, size: int) -> np.ndarray:
    """One image, H x W x 3, bytes."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except (OSError, SyntaxError) as error:  # what PIL raises for files that are no images
        raise DataError(f"{file} is not an image that can be read ({error})") from error
    return np.array(ImageOps.fit(image, (size, size)) if size else image)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]} pixels"


def first_of_each(x: Tensor, y: Tensor, per_class: int | None) -> Split:
    """The first images of each class; labels are in order, on any device."""
    if per_class is None:
        return x, y
    starts = torch.searchsorted(y, y)
    kept = torch.arange(len(y), device=y.device) - starts < per_class
    return x[kept], y[kept]


def _moments(channel: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of pixels in [0, 1]."""
    if channel.dtype != torch.uint8:
        return float(channel.double().mean()), float(channel.double().std(correction=0))
    counts = torch.bincount(channel.flatten(), minlength=256).double()
    # each byte value once, and not each pixel: exact, and without a copy of the images
    values, share = torch.arange(256).double() / 255, counts / counts.sum()
    mean = share @ values
    return float(mean), float((share @ (values - mean) ** 2).sqrt())


DATASETS = {
    "digits": DataSet("digits", digits, 10, PER_CLASS, (3, 16, 16), paper=False),
    "cifar10": DataSet("CIFAR-10", functools.partial(cifar, "cifar10"), 10, 5000, (3, 32, 32)),
    "cifar10-drawn": DataSet(
        "CIFAR-10 drawn at random", functools.partial(drawn, "cifar10"), 10, 5000, (3, 32, 32)
    ),
    "cifar100": DataSet("CIFAR-100", functools.partial(cifar, "cifar100"), 100, 500, (3, 32, 32)),
}
