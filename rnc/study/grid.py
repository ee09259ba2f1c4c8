"""Many networks: made side by side in processes that end with the command, in order, in time."""

from __future__ import annotations

import functools
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from typing import Any

import joblib
from torch import AcceleratorError

from rnc import progress
from rnc.progress import OutOfTime
from rnc.study import cost, data, folders, store
from rnc.study.capture import CaptureFailed
from rnc.study.files import writable
from rnc.study.record import Record
from rnc.study.store import Request

OVER = 75  # status of a command whose time is over: EX_TEMPFAIL, "begin me again" to a queue


class Died(RuntimeError):
    """A process ended before its network did."""


def compute(
    requests: list[Request],
    device: str,
    minutes: float = math.inf,
    long: bool = False,
    publish: bool = False,
) -> None:
    """Makes the records that are missing, several side by side on a CPU, and says how it goes.

    Networks that another process works on are left until the others are done.

    Args:
        requests: in order, most wanted first.
        device: where.
        minutes: the budget.
        long: begin on a CPU what takes it many hours; with a finite budget it is begun too.
        publish: as soon as a record is there.

    Raises:
        SystemExit: with status OVER if time is over, or else 1 if a network failed.
    """
    deadline = time.time() + 60 * minutes
    if publish:
        writable(folders.published())
    roots = [folders.published()] if publish else []
    missing = [request for request in requests if store.find(request, *roots) is None]
    print(f"networks: {len(requests)}, recorded: {len(requests) - len(missing)}", flush=True)
    if not missing:
        return
    workers = min(len(missing), joblib.cpu_count()) if device == "cpu" else 1
    check = store.estimate if long or math.isfinite(minutes) else store.check_length
    seconds = {request: check(request, device) for request in missing}
    print(f"about {cost.spoken(sum(seconds.values()) / workers)}, {workers} at a time", flush=True)
    for training in (request.training for request in missing if seconds[request]):
        data.load(training.dataset, "cpu", training.per_class)  # what is wrong with it is said now

    total, ended, failed, stopped = len(missing), 0, 0, 0
    for wait in (False, True):  # for networks that other processes work on
        options = {"device": device, "long": True, "wait": wait, "publish": publish}
        make = functools.partial(_make, deadline=deadline, **options)
        busy = []
        with stoppable(), closing(side_by_side(make, missing, workers, device)) as results:
            for request, result in results:
                name = f"{request.training.slug}: {request.training}"
                try:
                    record = result()
                except store.Busy:
                    busy.append(request)
                except OutOfTime:
                    stopped += 1
                except BrokenProcessPool:
                    raise
                except Exception as error:  # one network's trouble is not the others'
                    ended, failed = ended + 1, failed + 1
                    reason = f"{type(error).__name__}: {error}"
                    print(f"{ended} of {total} failed: {name}: {reason}", flush=True)
                else:
                    ended += 1
                    clean, pgd = (record.end(points, "accuracy") for points in ("clean", "pgd"))
                    print(
                        f"{ended} of {total} done: {name}: accuracy {clean:.3f} clean, {pgd:.3f} "
                        "under attack",
                        flush=True,
                    )
        missing = busy
    if stopped:
        print(f"time is over with {stopped} networks to do; the same command goes on", flush=True)
    if failed or stopped:
        sys.exit(OVER if stopped else 1)


@contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C in the block, or a worker that was killed, ends the command with a sentence."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from the last checkpoints")
    except BrokenProcessPool:
        sys.exit("a worker was killed; the same command goes on from the last checkpoints")


def side_by_side(
    function: Callable, items: list, workers: int, device: str = "cpu"
) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """Items as a function is done with them, in processes that end with this one, each with what
    gives its result or raises what stopped it. On a GPU they come one after the other, each in a
    process of its own."""
    if workers == 1 or device != "cpu":
        one = function if device == "cpu" else functools.partial(_alone, function)
        for item in items:
            yield item, functools.partial(one, item)
        return
    with _processes(workers) as pool:
        futures = {pool.submit(function, item): item for item in items}
        for future in as_completed(futures):
            yield futures[future], future.result


def _alone(function: Callable, item: Any) -> Any:
    """What a function gives of an item in a process of its own: a fault on a GPU spoils all that
    its process does later. After one, it is tried a second time without captured steps.

    Raises:
        Died: so did its second process.
    """
    try:
        return _in_a_process(function, item)
    except (CaptureFailed, AcceleratorError, BrokenProcessPool) as error:
        again = "trying again in another process with RNC_STEP=eager"
        print(f"{type(error).__name__}: {error}; {again}", file=sys.stderr, flush=True)
    try:
        return _in_a_process(_eagerly, function, item)
    except BrokenProcessPool as error:
        raise Died("its process died, and so did a second one with RNC_STEP=eager") from error


def _in_a_process(function: Callable, *arguments) -> Any:
    with _processes(1) as pool:
        return pool.submit(function, *arguments).result()


def _eagerly(function: Callable, item: Any) -> Any:
    os.environ["RNC_STEP"] = "eager"
    return function(item)


@contextmanager
def _processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """They end at once where the block is stopped by anything."""
    context = multiprocessing.get_context("spawn")
    begun = context.Value("i"), count
    pool = ProcessPoolExecutor(count, context, _begin_worker, begun)
    try:
        yield pool
    except BaseException:
        for worker in multiprocessing.active_children():  # whoever is stopped means them too
            worker.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _make(request: Request, deadline: float, **options) -> Record:
    with progress.until(deadline):
        if progress.seconds_left() <= 0:
            raise OutOfTime(f"{request.training.slug} was not begun")
        return store.make(request, **options)


def _begin_worker(begun, count: int) -> None:
    # Ctrl-C ends a worker at once, wherever it is; the store is made for that
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with begun.get_lock():
        progress.position = begun.value % count
        begun.value += 1


def _end_with_parent() -> None:
    """Whoever kills the command means its workers too."""
    multiprocessing.parent_process().join()
    os._exit(1)
