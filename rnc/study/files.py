"""Files that are there whole or not at all: JSON that can be compared, weights with a digest."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from rnc.errors import UserError


class Damaged(Exception):
    """A stored file is not what was written."""


class StoreError(UserError):
    """A folder cannot be written, or has no space."""


def write_json(path: Path, content: dict) -> None:
    """JSON that can be compared line by line: one list of numbers or words per line."""
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found[0].split()), text)
    write(path, text.encode() + b"\n")


def read_json(path: Path) -> dict | None:
    """None where there is no file, or it is damaged, which is said."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        warnings.warn(f"{path} is damaged (not valid JSON) and counts as missing", stacklevel=2)
        return None


def write_tensors(path: Path, tensors: dict[str, Tensor], notes: dict) -> None:
    """Tensors by name, and notes that JSON can hold, as safetensors with a digest of both."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(notes)
    header = {"notes": text, "digest": digest(tensors, text)}
    write(path, safetensors.torch.save(tensors, header))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """What `write_tensors` wrote.

    Raises:
        Damaged: it is not that.
        FileNotFoundError: there is no such file.
    """
    content = path.read_bytes()
    try:
        tensors = safetensors.torch.load(content)
        # the library gives the metadata of files only; the header is JSON after its length
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        notes, expected = header["__metadata__"]["notes"], header["__metadata__"]["digest"]
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise Damaged(f"{path} is damaged ({error})") from error
    if digest(tensors, notes) != expected:
        raise Damaged(f"{path} is damaged (its digest does not match)")
    return tensors, json.loads(notes)


def digest(tensors: dict[str, Tensor], text: str = "") -> str:
    """Names tensors, with their names, types and shapes, and a text: 16 hexadecimal digits."""
    found = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def write(path: Path, content: bytes) -> None:
    """Beside its place and then moved there, so that nobody finds a half of it."""
    # a name of its own, for two at once, also on two machines
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_bytes(content)
            os.replace(beside, path)
        except OSError:  # a full disk: do not keep it full
            beside.unlink(missing_ok=True)
            raise


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What the system says of a folder that cannot be written becomes one sentence."""
    try:
        yield
    except TimeoutError:  # of a lock in it
        raise
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written ({error.strerror or error}); set RNC_STORE and "
            f"RNC_RECORDS to folders that can, with enough space"
        ) from error


def writable(folder: Path) -> None:
    """Raises StoreError where nothing can be written to a folder."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
