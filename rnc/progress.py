"""One way to show that work goes on: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

SECONDS = 10  # between two lines of a log
position = 0  # row of the bar, for processes side by side


def progress(items: Iterable, what: str, total: int, done: int = 0) -> Iterator:
    """The items, with progress on the standard error.

    Args:
        items: what is left to do.
        what: shown before the count.
        total: of all items, with those done before.
        done: how many were done before.
    """
    if sys.stderr.isatty():
        yield from tqdm(
            items, what, total, initial=done, position=position, leave=False, mininterval=0.5
        )
        return
    said = time.monotonic()
    for item in items:
        yield item
        done += 1
        if time.monotonic() - said >= SECONDS:
            print(f"{what} {done} of {total}", file=sys.stderr, flush=True)
            said = time.monotonic()
