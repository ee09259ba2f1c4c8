"""A measurement: a function of a trained network, with a name and a version of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from rnc.progress import without_limit
from rnc.study.measurements.subject import Subject
from rnc.study.settings import Attack, Evaluation


class Parts:
    """The steps of a measurement, kept as they are done: what is there is not done again.

    The first step of a call is done whatever the budget, so that every call comes further.

    Args:
        done: by name, results of steps done before.
        save: called with all results after each further step.
    """

    def __init__(self, done: dict | None = None, save: Callable[[dict], None] = lambda done: None):
        self.done, self.save, self.first = dict(done or {}), save, True

    def __call__(self, name: str, step: Callable[[], Any]) -> Any:
        """The result of a step, as `plain` numbers."""
        if name not in self.done:
            with without_limit() if self.first else nullcontext():
                self.done[name] = plain(step())
            self.first = False
            self.save(self.done)
        return self.done[name]


@dataclass(frozen=True)
class Measurement:
    """What is declared of a measurement; see `measurement`."""

    name: str
    function: Callable[[Subject, Parts], dict]
    version: int
    passes: Callable[[Attack], float]
    snapshots: bool
    all_points: bool
    when: Callable[[Evaluation], bool]
    later: bool


MEASUREMENTS: dict[str, Measurement] = {}


def measurement(
    version: int,
    passes: Callable[[Attack], float],
    snapshots: bool = False,
    all_points: bool = False,
    when: Callable[[Evaluation], bool] = lambda evaluation: True,
    later: bool = False,
) -> Callable:
    """Declares a function from a subject and parts to values as a measurement of its name.

    Args:
        version: raise it when the function gives something else; older results are not read
            then, and of each network only this is measured again.
        passes: forward passes of one point that it takes, for estimates of time; with
            `snapshots`, for each of them.
        snapshots: whether it needs the weights along training, or only the last ones.
        all_points: whether it measures all of them, whatever the evaluation says.
        when: whether it belongs to every record of an evaluation; else it is made when asked for.
        later: whether it came after records were published: a published one without it counts as
            complete, unless it was asked for or the network is in the store to be measured.
    """

    def declare(function: Callable[[Subject, Parts], dict]) -> Callable:
        name = function.__name__
        declared = Measurement(name, function, version, passes, snapshots, all_points, when, later)
        MEASUREMENTS[name] = declared
        return function

    return declare


def plain(value: Any) -> Any:
    """JSON's types: tensors and arrays as lists, floats of six digits, None if not finite."""
    if isinstance(value, Tensor | np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def columns(rows: list[dict]) -> dict:
    """A list of equal dictionaries as one dictionary of lists, at any depth."""
    return {
        name: columns([row[name] for row in rows])
        if isinstance(value, dict)
        else [row[name] for row in rows]
        for name, value in rows[0].items()
    }
