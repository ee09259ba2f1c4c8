"""One way to go through long work: with progress shown, and within a budget of time."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tqdm import tqdm

SECONDS = 10  # between two lines of a log
position = 0  # row of the bar, for processes side by side
# time.time() at which to be done; a thread has its own
_deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)


class OutOfTime(Exception):
    """The time given is over; what is done is kept, and the same call goes on from it."""


@contextmanager
def until(deadline: float) -> Iterator[None]:
    """A budget for all loops of the block that show progress: time.time() at which to be done."""
    before = _deadline.set(min(_deadline.get(), deadline))
    try:
        yield
    finally:
        _deadline.reset(before)


@contextmanager
def without_limit() -> Iterator[None]:
    """Suspends the budget in the block."""
    before = _deadline.set(math.inf)
    try:
        yield
    finally:
        _deadline.reset(before)


def seconds_left() -> float:
    """Of the budget; infinite where there is none."""
    return _deadline.get() - time.time()


def progress(items: Iterable, what: str, total: int, done: int = 0) -> Iterator:
    """The items, with progress on the standard error.

    Args:
        items: what is left to do.
        what: shown before the count.
        total: of all items, with those done before.
        done: how many were done before.

    Raises:
        OutOfTime: between items, if the budget would not last for one more that takes as long
            as the longest so far.
    """
    shown = sys.stderr.isatty()
    if shown:
        items = tqdm(
            items, what, total, initial=done, position=position, leave=False, mininterval=0.5
        )
    said, longest = time.monotonic(), 0.0
    for item in items:
        if seconds_left() < longest:
            raise OutOfTime(f"time is over: {what} {done} of {total}")
        began = time.monotonic()
        yield item
        longest = max(longest, time.monotonic() - began)
        done += 1
        if not shown and time.monotonic() - said >= SECONDS:
            print(f"{what} {done} of {total}", file=sys.stderr, flush=True)
            said = time.monotonic()
