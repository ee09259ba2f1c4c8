"""Where things are kept: in a checkout, in the user's cache, or where the environment says."""

from __future__ import annotations

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def store() -> Path:
    """Weights and measurements that this machine made (RNC_STORE)."""
    return _folder("RNC_STORE", "runs")


def published() -> Path:
    """Measurements that are committed with the book (RNC_RECORDS)."""
    return _folder("RNC_RECORDS", "book/records")


def data() -> Path:
    """Where data sets are looked for, and downloaded to (RNC_DATA)."""
    return _folder("RNC_DATA", "data")


def _folder(variable: str, name: str) -> Path:
    if variable in os.environ:
        return Path(os.environ[variable]).expanduser().absolute()
    if (CHECKOUT / "pyproject.toml").exists():
        return CHECKOUT / name
    import platformdirs  # a checkout does without it

    return Path(platformdirs.user_cache_dir("rnc")) / name
