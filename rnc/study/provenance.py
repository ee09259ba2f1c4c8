"""Where and with what something was computed."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path

import torch


def environment(device: torch.device) -> dict[str, str]:
    """Device, versions, commit and date."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": f"{device.type} ({name})",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
    }


def commit() -> str:
    """Of this package's code: RNC_COMMIT if it is set (for a copy without history), else git's."""
    if named := os.environ.get("RNC_COMMIT"):
        return named
    here = Path(__file__)
    # a package that is installed within some other project's tree is not of that project's commit
    if _git(here, "ls-files", "--error-unmatch", here.name) is None:
        return "unknown"
    changed = " with uncommitted changes" if _git(here, "status", "--porcelain", "..") else ""
    return f"{_git(here, 'rev-parse', '--short', 'HEAD')}{changed}"


def _git(file: Path, *command: str) -> str | None:
    try:
        run = subprocess.run(
            ["git", *command], cwd=file.parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.strip()
