"""The command line: python -m rnc run | grid | claims | book | pdf | notebooks.

`run` computes what is missing in the store, several networks side by side; `grid` does so for
a list of settings and keeps the records with the book; `claims` prints the verdicts; `book`
runs the notebooks and renders the book, `pdf` prints it; `notebooks` makes the notebooks from
their text twins.
Settings are those of a notebook: python -m rnc run --eps 4 --seeds 0,1,2
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import tomllib
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from rnc import claims, data, progress, runs
from rnc.config import PRESETS, Attack, ParameterError, Study, Training, UserError
from rnc.training import OutOfTime

Job = tuple[Training, Attack, tuple[str, ...]]  # and which of runs.KINDS are wanted
SETTINGS = inspect.signature(Study.of).parameters
VARIANTS = [training.variant for training in Study.of().variants()]


def main(arguments: list[str] | None = None) -> None:
    """Runs a command; a mistake in a setting ends it with one sentence and status 2."""
    parser = argparse.ArgumentParser(prog="python -m rnc", description=__doc__.split("\n\n")[1])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, function in COMMANDS.items():
        command = commands.add_parser(name, help=function.__doc__.splitlines()[0])
        if name == "grid":
            command.add_argument("file", type=Path, help="a list of settings, see book/records")
            command.add_argument("--device", help="cpu or cuda; none: the presets'")
        elif name not in ("notebooks", "pdf"):
            for setting, parameter in SETTINGS.items():
                command.add_argument(f"--{setting}", type=_value, help=f"({parameter.annotation})")
        if name == "run":
            command.add_argument("--only", nargs="+", help=f"some of {', '.join(VARIANTS)}")
            command.add_argument(
                "--stronger", action="store_true", help="under stronger attacks too"
            )
        if name in ("run", "grid"):
            command.add_argument("--minutes", type=float, help="stop by then; go on next time")
            command.add_argument(
                "--long", action="store_true", help="begin on a CPU what takes it many hours"
            )
    parsed = vars(parser.parse_args(arguments))
    try:
        COMMANDS[parsed.pop("command")](**{n: v for n, v in parsed.items() if v is not None})
    except UserError as error:
        parser.error(str(error))


def run(
    only: list[str] = VARIANTS,
    minutes: float = math.inf,
    long: bool = False,
    stronger: bool = False,
    **settings,
) -> None:
    """Train and measure the networks of a study."""
    study = Study.of(**settings)
    print(study, flush=True)
    _run(study, only, study.seeds if stronger else (), minutes, long)


def grid(file: Path, device: str | None = None, minutes: float = math.inf, long: bool = False):
    """Make the records of a list of settings, in its order, and keep them with the book."""
    try:
        entries = tomllib.loads(file.read_text())["run"]
        if not entries or not isinstance(entries, list):
            raise ValueError(entries)
    except (OSError, KeyError, ValueError) as error:
        raise ParameterError(
            f"file must be a TOML list of [[run]] tables; got {file} ({error!r})"
        ) from error
    devices, jobs, allowed = set(), [], [name for name in SETTINGS if name != "device"]
    for entry in entries:
        only, stronger = entry.pop("only", VARIANTS), entry.pop("stronger", False)
        if not isinstance(stronger, bool):
            raise ParameterError(f"stronger must be true or false; got {stronger!r} in {file}")
        if unknown := [name for name in entry if name not in allowed]:
            known = ", ".join(["only", "stronger", *allowed])
            raise ParameterError(f"{file} has a setting {unknown[0]!r}; allowed are {known}")
        study = Study.of(**entry, device=device)
        devices.add(study.device)
        jobs += _jobs(study, only, study.seeds if stronger else ())
    if len(devices) > 1:
        raise ParameterError(f"device must be given; presets want {' and '.join(sorted(devices))}")
    _compute(jobs, devices.pop(), minutes, long, keep=True)


def show_claims(**settings) -> None:
    """Print the verdicts on the paper's claims."""
    study = Study.of(**settings)
    verdicts = claims.judge([runs.records(study, seed=seed) for seed in study.seeds])
    print("\n".join(verdict.details() for verdict in verdicts))


def book(**settings) -> None:
    """Run every notebook and render the book."""
    study = Study.of(**settings)
    print(study, flush=True)
    # the chapter on stronger attacks shows one seed, as most do
    _run(study, VARIANTS, study.seeds[:1])
    if study.preset != "quick":
        run()  # the page on claims compares
    from rnc import book as renderer  # Jupyter is not needed for the other commands

    if study.seeds != PRESETS[study.preset].seeds:
        # chapters show one network of each kind, the claims page all seeds
        settings |= {"seed": study.seeds[0], "seeds": ",".join(map(str, study.seeds))}
    renderer.render(study, settings)


def refresh_notebooks() -> None:
    """Make the notebooks anew from their text twins, with the outputs that tests compare."""
    from rnc import book as renderer

    renderer.refresh()


def print_book() -> None:
    """Print the book that was rendered last, as a PDF file."""
    from rnc import book as renderer

    renderer.pdf()


COMMANDS = {
    "run": run,
    "grid": grid,
    "claims": show_claims,
    "book": book,
    "pdf": print_book,
    "notebooks": refresh_notebooks,
}


def _run(
    study: Study,
    only: list[str],
    stronger: tuple[int, ...],
    minutes: float = math.inf,
    long: bool = False,
) -> None:
    jobs = _jobs(study, only, stronger)
    # the longest first, so that the last ones to end are short
    jobs.sort(key=lambda job: job[0].method == "st")
    _compute(jobs, study.device, minutes, long)


def _jobs(study: Study, only: list[str], stronger: tuple[int, ...] = ()) -> list[Job]:
    """The networks of a study, seed by seed; at seeds in `stronger` under those attacks too."""
    if unknown := [name for name in only if name not in VARIANTS]:
        raise ParameterError(f"only must be some of {', '.join(VARIANTS)}; got {unknown[0]!r}")
    networks = [t for seed in study.seeds for t in study.variants(seed) if t.variant in only]
    return [(t, study.attack, tuple(runs.KINDS)[: 1 + (t.seed in stronger)]) for t in networks]


def _compute(jobs: list[Job], device: str, minutes: float, long: bool, keep: bool = False) -> None:
    """Makes the records that are missing, several side by side on a CPU, in order."""
    deadline = time.time() + 60 * minutes
    if keep:  # what was made by a run that did not keep it
        for training, attack, _ in jobs:
            runs.keep(training, attack)
    missing = [(t, a, kinds) for t, a, kinds in jobs if not all(runs.find(t, a, k) for k in kinds)]
    print(f"networks: {len(jobs)}, recorded: {len(jobs) - len(missing)}", flush=True)
    if not missing:
        return
    workers = min(len(missing), os.cpu_count() or 1) if device == "cpu" else 1
    check = runs.estimate if long or math.isfinite(minutes) else runs.check_length
    seconds = sum(check(training, attack, device, kinds) for training, attack, kinds in missing)
    print(f"about {runs.cost.spoken(seconds / workers)}, {workers} at a time", flush=True)
    for training, *_ in missing:  # what is wrong with the data is said before anything begins
        data.load(training.dataset, "cpu", training.per_class)
    context = multiprocessing.get_context("spawn")
    rows = context.Queue()
    for row in range(workers):
        rows.put(row)
    failed = stopped = 0
    with ProcessPoolExecutor(workers, context, _begin_worker, (rows,)) as pool:
        futures = {pool.submit(_record, *job, device, deadline): job for job in missing}
        try:
            for number, future in enumerate(as_completed(futures), start=1):
                training, attack, _ = futures[future]
                name = f"{training.slug}: {training.label}, seed {training.seed}"
                if keep:
                    runs.keep(training, attack)
                try:
                    end = future.result()["trajectory"]
                except OutOfTime:
                    stopped += 1
                    continue
                except BrokenProcessPool:
                    raise
                except Exception as error:  # one network's trouble is not the others'
                    failed += 1
                    reason = f"{type(error).__name__}: {error}"
                    print(f"{number} of {len(missing)} failed: {name}: {reason}", flush=True)
                    continue
                print(
                    f"{number} of {len(missing)} done: {name}: "
                    f"accuracy {end['clean']['accuracy'][-1]:.3f} clean, "
                    f"{end['pgd']['accuracy'][-1]:.3f} under attack",
                    flush=True,
                )
        except KeyboardInterrupt:
            for worker in multiprocessing.active_children():  # whom nothing told yet
                worker.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            sys.exit("stopped; the same command goes on from the last checkpoints")
        except BrokenProcessPool:
            sys.exit("a worker was killed; the same command goes on from the last checkpoints")
    if stopped:
        print(f"time is over with {stopped} networks to do; the same command goes on", flush=True)
    if failed:
        sys.exit(1)


def _record(
    training: Training, attack: Attack, kinds: tuple[str, ...], device: str, deadline: float
) -> dict:
    if time.time() > deadline:
        raise OutOfTime(f"{training.slug} was not begun")
    record = runs.record(training, attack, device, long=True, deadline=deadline)
    if "stronger" in kinds:
        runs.record_stronger(training, attack, device, long=True, deadline=deadline)
    return record


def _begin_worker(rows) -> None:
    # Ctrl-C ends a worker at once, wherever it is; the store is made for that
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    progress.position = rows.get()


def _end_with_parent() -> None:
    """Whoever kills the command means its workers too."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _value(text: str):
    try:
        return json.loads(text)
    except ValueError:
        return text
