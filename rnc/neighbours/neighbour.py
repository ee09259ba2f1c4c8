"""What the chapters on neighbouring papers share: experiments that are kept, and claims on them.

@experiment(version=1)
def frames(settings): ...           # of all seeds at once

@experiment(version=1, each_seed=True)
def networks(settings, seed): ...   # of one seed

NEIGHBOUR = Neighbour("11_deep_linear", "Dang et al.", ABOUT, Settings, (frames, ...), CLAIMS)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from rnc.study.claims import Claim, Condition, Verdict, judge_seeds
from rnc.study.store import find_kept, keep, publish_kept

Seed = dict[str, Any]  # by name what the experiments gave, and the `number` of a seed among them


@dataclass(frozen=True)
class Experiment:
    """A function of settings whose results are kept in the store.

    Attributes:
        name: of its folder, such as "deep_linear/frames".
        version: raise it when the same settings give something else.
        each_seed: whether it is a function of settings and one seed.
        function: gives JSON, arrays or tensors.
    """

    name: str
    version: int
    each_seed: bool
    function: Callable[..., dict]

    def __call__(self, settings: Any, *seed: int) -> dict:
        """Its results, from the store once they are there."""
        key = self._key(settings, *seed)
        return keep(self.name, self.version, key, lambda: self.function(settings, *seed))

    def is_kept(self, settings: Any, *seed: int) -> bool:
        """Whether its results are there."""
        return find_kept(self.name, self.version, self._key(settings, *seed)) is not None

    def publish(self, settings: Any, *seed: int) -> None:
        """Puts its results, which are kept, among those that are committed with the book."""
        publish_kept(self.name, self.version, self._key(settings, *seed))

    def __reduce__(self):
        # its name is that of its function, which another process would not find
        return _declared, (self.function.__module__, self.function.__name__)

    def _key(self, settings: Any, *seed: int) -> dict:
        return _plain(settings) | ({"seeds": seed} if self.each_seed else {})


def _plain(settings: Any) -> dict:
    """Values by name, with 2 and 2.0 as one setting: the default where they are equal to it, and
    else as the field's type says."""
    found = {}
    for one in fields(settings):
        value = getattr(settings, one.name)
        if is_dataclass(value):
            value = _plain(value)
        elif value == one.default:
            value = one.default
        elif one.type in (float, "float"):
            value = float(value)
        found[one.name] = value
    return found


def _declared(module: str, name: str) -> Experiment:
    return getattr(importlib.import_module(module), name)


def experiment(version: int, each_seed: bool = False) -> Callable[[Callable], Experiment]:
    """Declares a function of settings, or of settings and a seed, as an experiment of its name."""

    def declare(function: Callable[..., dict]) -> Experiment:
        neighbour = function.__module__.rsplit(".", 2)[-2:][0]
        return Experiment(f"{neighbour}/{function.__name__}", version, each_seed, function)

    return declare


@dataclass(frozen=True)
class Neighbour:
    """A chapter on a neighbouring paper.

    Attributes:
        chapter: its notebook.
        paper: whose it is, and when.
        about: what it asks, in a few words.
        settings: class of what a reader can change, with defaults and an attribute `seeds`.
        experiments: what is measured.
        claims: what is judged by it; see `claim`.
    """

    chapter: str
    paper: str
    about: str
    settings: type
    experiments: tuple[Experiment, ...]
    claims: tuple[Claim, ...]

    def tasks(self, settings: Any) -> Iterator[tuple[Experiment, tuple[int, ...]]]:
        """Experiments, each with the seed it is to be run at or none: they know nothing of each
        other, and can be run side by side."""
        for one in self.experiments:
            for seed in settings.seeds if one.each_seed else (None,):
                yield one, () if seed is None else (seed,)

    def measure(self, settings: Any) -> dict[str, Any]:
        """What the experiments give, by the name of their function; of those that are run for each
        seed a list."""
        found: dict[str, Any] = {}
        for one, seed in self.tasks(settings):
            name, result = one.name.split("/")[-1], one(settings, *seed)
            if one.each_seed:
                found.setdefault(name, []).append(result)
            else:
                found[name] = result
        return found

    def judge(self, measured: dict[str, Any], seeds: Iterable[int]) -> list[Verdict]:
        """The verdicts, a column for each seed."""
        columns = [measured | {"number": number} for number, _ in enumerate(seeds)]
        return [judge_seeds(claim, columns) for claim in self.claims]


def claim(
    chapter: str,
    id: str,
    title: str,
    statement: str,
    source: str,
    *conditions: Condition,
    premises: tuple[Condition, ...] = (),
) -> Claim:
    """A claim whose values are functions of a `Seed`."""
    return Claim(id, title, statement, source, chapter, (), conditions, premises)
