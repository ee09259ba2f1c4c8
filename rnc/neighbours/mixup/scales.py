"""The same networks trained longer, and on other data, as far as they are recorded."""

from __future__ import annotations

from rnc.neighbours.mixup.claims import CLAIMS
from rnc.neighbours.mixup.experiments import Settings, mixup, st
from rnc.neighbours.neighbour import Experiment
from rnc.study.claims import Verdict, judge_seeds

OTHERS = {
    "digits, 500 epochs, seed 0": Settings(epochs=500, seeds=(0,)),
    "CIFAR-10, 80 epochs (640 updates), seed 1": Settings("cifar10-small", epochs=80, seeds=(1,)),
    "CIFAR-10, 400 epochs (3,200 updates), seed 2": Settings(
        "cifar10-small", epochs=400, seeds=(2,)
    ),
}

VARIANTS = ("M5", "M6")  # claims on networks that only the chapter's own scale has


def tasks(name: str) -> list[tuple[Experiment, Settings, tuple[int, ...]]]:
    """Of one of OTHERS, for `rnc.neighbours.run.run`."""
    settings = OTHERS[name]
    return [(one, settings, (seed,)) for one in (mixup, st) for seed in settings.seeds]


def recorded(like: Settings) -> dict[str, dict]:
    """Those of OTHERS that are there, with mixing and attack as in given settings, by name; each
    with lists over seeds for `mixup` and `st`, as `Neighbour.measure` gives them. Nothing is
    computed."""
    found: dict[str, dict] = {}
    for name, settings in OTHERS.items():
        same = all(getattr(settings, of) == getattr(like, of) for of in ("mixing", "eps", "steps"))
        if same and all(one.is_kept(settings, *seed) for one, settings, seed in tasks(name)):
            measured = found.setdefault(name, {})
            for one, settings, seed in tasks(name):
                measured.setdefault(one.function.__name__, []).append(one(settings, *seed))
    return found


def judged(measured: dict) -> list[Verdict]:
    """The verdicts on all claims but VARIANTS, from what was measured at one scale."""
    seeds = [measured | {"number": number} for number in range(len(measured["mixup"]))]
    return [judge_seeds(claim, seeds) for claim in CLAIMS if claim.id not in VARIANTS]
