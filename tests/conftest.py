import pytest
import torch

from rnc.config import Study


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def tiny():
    """A study that trains in a second: two channels, three epochs."""
    return Study.of(width=2, epochs=3, steps=2)


@pytest.fixture
def empty_store(tmp_path, monkeypatch):
    monkeypatch.setenv("RNC_STORE", str(tmp_path / "store"))
    return tmp_path / "store"
