import numpy as np
import pytest
import torch
from PIL import Image

from rnc.study.files import digest
from rnc.study.measurements import MEASUREMENTS
from rnc.study.measurements.measurement import measurement
from rnc.study.settings import Study


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def tiny():
    """A study of a second: two channels, three epochs of two batches."""
    return Study.of(width=2, epochs=3, steps=2, per_class=20)


@pytest.fixture
def empty_store(tmp_path, monkeypatch):
    monkeypatch.setenv("RNC_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def write_images(folder, counts, size=(6, 4), seed=0):
    """Random PNG images, {class: count}; gives them back as {class: N x H x W x 3}."""
    rng, written = np.random.default_rng(seed), {}
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        pixels = rng.integers(0, 256, (count, size[1], size[0], 3), dtype=np.uint8)
        for i, image in enumerate(pixels):
            Image.fromarray(image).save(folder / name / f"{i:03d}.png")
        written[name] = pixels
    return written


def measure_weights_only():
    """What a record holds, from now on in this process: the digests of all snapshots."""
    MEASUREMENTS.clear()

    @measurement(version=1, passes=lambda attack: 0, snapshots=True)
    def weights(subject, part):
        return {
            str(epoch): digest(subject.at(epoch).weights(epoch))
            for epoch in subject.training.snapshots()
        }
