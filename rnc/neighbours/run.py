"""The experiments of neighbours, side by side."""

from __future__ import annotations

import sys
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from itertools import chain, zip_longest
from typing import Any

import joblib

from rnc.neighbours.neighbour import Experiment
from rnc.study.grid import side_by_side, stoppable

Task = tuple[Experiment, Any, tuple[int, ...]]  # with settings, and a seed or none


def run(chapters: list[list[Task]], publish: bool = False) -> None:
    """Runs what is not in the store yet, and says how it goes.

    Args:
        chapters: tasks of each, best those that take long first, so that no core waits long at the
            end. Chapters take turns: experiments of one may wait for the same network.
        publish: put the results among the published ones.

    Raises:
        SystemExit: with status 1 if one failed; the others are kept.
    """
    tasks = list(chain.from_iterable(chapters))
    turns = zip_longest(*(filter(_is_missing, chapter) for chapter in chapters))
    missing = [task for turn in turns for task in turn if task is not None]
    print(f"experiments: {len(tasks)}, kept: {len(tasks) - len(missing)}", flush=True)
    workers, failed = max(min(len(missing), joblib.cpu_count()), 1), 0
    with stoppable(), closing(side_by_side(_run, missing, workers)) as results:
        for number, ((one, _, seed), result) in enumerate(results, start=1):
            name = " ".join([one.name, *(f"seed {n}" for n in seed)])
            try:
                result()
            except BrokenProcessPool:
                raise
            except Exception as error:  # one experiment's trouble is not the others'
                failed += 1
                reason = f"{type(error).__name__}: {error}"
                print(f"{number} of {len(missing)} failed: {name}: {reason}", flush=True)
            else:
                print(f"{number} of {len(missing)} done: {name}", flush=True)
    if failed:
        sys.exit(1)
    if publish:
        for one, settings, seed in tasks:
            one.publish(settings, *seed)


def _is_missing(task: Task) -> bool:
    one, settings, seed = task
    return not one.is_kept(settings, *seed)


def _run(task: Task) -> None:
    one, settings, seed = task
    one(settings, *seed)
