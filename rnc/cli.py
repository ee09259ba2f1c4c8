"""The command line: python -m rnc run | claims | book | notebooks.

`run` computes what is missing in the store, several networks side by side; `claims` prints
the verdicts; `book` runs the notebooks and renders the book; `notebooks` makes the notebooks
from their text twins. Settings are those of a notebook:
python -m rnc run --eps 4 --seeds 0,1,2
"""

from __future__ import annotations

import argparse
import inspect
import json
import multiprocessing
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed

from rnc import claims, progress, runs
from rnc.config import Attack, ParameterError, Study, Training


def main(arguments: list[str] | None = None) -> None:
    """Runs a command; a mistake in a setting ends it with one sentence and status 2."""
    parser = argparse.ArgumentParser(prog="python -m rnc", description=__doc__.split("\n\n")[1])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("notebooks", help=refresh_notebooks.__doc__).set_defaults(
        function=refresh_notebooks
    )
    for name, function in (("run", run), ("claims", show_claims), ("book", book)):
        command = commands.add_parser(name, help=function.__doc__.splitlines()[0])
        for setting, parameter in inspect.signature(Study.of).parameters.items():
            command.add_argument(f"--{setting}", type=_value, help=f"({parameter.annotation})")
        command.set_defaults(function=function)
    parsed = vars(parser.parse_args(arguments))
    function, _ = parsed.pop("function"), parsed.pop("command")
    if function is refresh_notebooks:
        return refresh_notebooks()
    defaults = inspect.signature(Study.of).parameters
    given = {n: v for n, v in parsed.items() if v is not None and v != defaults[n].default}
    try:
        study = Study.of(**given)
    except ParameterError as error:
        parser.error(str(error))
    function(study, given)


def run(study: Study, given: dict) -> None:
    """Train and measure every network of a study."""
    jobs = [t for seed in study.seeds for t in study.variants(seed)]
    # the longest first, so that the last ones to end are short
    jobs.sort(key=lambda training: training.method == "st")
    workers = min(len(jobs), os.cpu_count() or 1) if study.device == "cpu" else 1
    print(f"{study}\n{len(jobs)} networks, {workers} at a time", flush=True)
    context = multiprocessing.get_context("spawn")
    rows = context.Queue()
    for row in range(workers):
        rows.put(row)
    with ProcessPoolExecutor(workers, context, _begin_worker, (rows,)) as pool:
        futures = {pool.submit(_record, job, study.attack, study.device): job for job in jobs}
        try:
            for number, future in enumerate(as_completed(futures), start=1):
                job, found = futures[future], future.result()
                end = found["trajectory"]
                print(
                    f"{number} of {len(jobs)} done: {job.label}, seed {job.seed}: "
                    f"accuracy {end['clean']['accuracy'][-1]:.3f} clean, "
                    f"{end['pgd']['accuracy'][-1]:.3f} under attack",
                    flush=True,
                )
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            sys.exit("stopped; the same command goes on from the last checkpoints")


def show_claims(study: Study, given: dict) -> None:
    """Print the verdicts on the paper's claims."""
    verdicts = claims.judge([runs.records(study, seed=seed) for seed in study.seeds])
    print("\n".join(verdict.details() for verdict in verdicts))


def book(study: Study, given: dict) -> None:
    """Run every notebook and render the book."""
    run(study, given)
    from rnc import book as renderer  # Jupyter is not needed for the other commands

    if study.seeds != Study.of().seeds:
        # chapters show one network of each kind, the claims page all seeds
        given |= {"seed": study.seeds[0], "seeds": ",".join(map(str, study.seeds))}
    renderer.render(study, given)


def refresh_notebooks() -> None:
    """Make the notebooks anew from their text twins, with the outputs that tests compare."""
    from rnc import book as renderer

    renderer.refresh()


def _record(training: Training, attack: Attack, device: str) -> dict:
    return runs.record(training, attack, device)


def _begin_worker(rows) -> None:
    # Ctrl-C ends a worker at once, wherever it is; the store is made for that
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    progress.position = rows.get()


def _value(text: str):
    try:
        return json.loads(text)
    except ValueError:
        return text
