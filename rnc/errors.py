"""Errors that their message lets the user put right, and the checks that raise them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Shown as one sentence."""

    def _render_traceback_(self) -> list[str]:
        # IPython's hook: a reader who mistypes a parameter gets the sentence, not a stack.
        return [f"{type(self).__name__}: {self}"]


class ParameterError(UserError, ValueError):
    """A setting is not allowed; the message says which, what it was and what is allowed."""


def did_you_mean(word: object, allowed: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(word), list(allowed), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def check_one_of(name: str, value: object, allowed: Iterable[str], other: str = "") -> None:
    if not isinstance(value, str) or value not in allowed:
        raise ParameterError(
            f"{name} must be one of {', '.join(allowed)}{other}; got {value!r}"
            + did_you_mean(value, allowed)
        )


def check_number(name: str, value: object, low: float, unit: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= low:
        raise ParameterError(f"{name} must be a number{unit}, at least {low:g}; got {value!r}")
    if value == float("inf"):
        raise ParameterError(f"{name} must be finite; got {value!r}")


def check_positive(name: str, value: object, unit: str = "") -> None:
    check_number(name, value, 0, unit)
    if not value:
        raise ParameterError(f"{name} must be more than 0; got {value!r}")


def check_whole(name: str, value: object, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ParameterError(f"{name} must be a whole number, at least {low}; got {value!r}")
