"""The command line: python -m rnc run, grid, neighbours, claims, survey, book, pdf, notebooks.

`run` makes the records that a study lacks, several networks side by side; `grid` does so for a
list of settings and publishes the records with the book; `neighbours` computes what the chapters
on neighbouring papers show; `claims` prints the verdicts; `survey` reports on a network of your
own; `book` runs the notebooks and renders the book, `pdf` prints it; `notebooks` makes the
notebooks from their text twins.
Settings are those of a notebook: python -m rnc run --eps 4 --seeds 0,1,2
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rnc.errors import ParameterError, UserError, check_one_of
from rnc.neighbours import NEIGHBOURS
from rnc.neighbours.run import run as run_experiments
from rnc.study import claims
from rnc.study.grid import compute
from rnc.study.methods import METHODS
from rnc.study.records import records
from rnc.study.reports import Named, others
from rnc.study.settings import COMPARED, PRESETS, Study, seeds_of
from rnc.study.store import Request

SETTINGS = inspect.signature(Study.of).parameters
# those of a study that trains nothing
OF_SURVEYS = ("dataset", "per_class", "norm", "eps", "alpha", "steps", "seed", "device")
OF_NETWORKS = {
    "network": "MODULE:NAME or FILE.py:NAME of what makes it",
    "weights": "file of its weights: .safetensors, or a saved state_dict",
    "layers": "such as layer1,layer4; none: the modules before the classifier",
    "classifier": "its last linear layer; none: the last that runs",
    "part": "train or test images",
    "mean": "of its normalisation, per channel: 0.485,0.456,0.406",
    "std": "the same",
    "title": "its name in tables and figures",
    "out": "folder for table and figures; none: report",
}
# what chapters ask beside of the networks of the first seed
AUDITED = ("stronger", "early", "checks", "generalisation")


def main(arguments: list[str] | None = None) -> None:
    """Runs a command; a mistake in a setting ends it with one sentence and status 2."""
    parser = argparse.ArgumentParser(prog="python -m rnc", description=__doc__.split("\n\n")[1])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, function in COMMANDS.items():
        command = commands.add_parser(name, help=function.__doc__.splitlines()[0])
        if name == "grid":
            command.add_argument("file", type=Path, help="a list of settings, see book/records")
            command.add_argument("--device", help="cpu or cuda; none: the presets'")
            command.add_argument("--shard", help="K/N: every Nth network from the Kth on")
        elif name == "neighbours":
            command.add_argument("--only", nargs="+", help="chapters, such as 11_deep_linear")
            command.add_argument("--seeds", type=_value, help="of all; none: the chapters'")
            command.add_argument(
                "--publish", action="store_true", help="put the results among the book's records"
            )
        elif name == "survey":
            for setting, meaning in OF_NETWORKS.items():
                command.add_argument(f"--{setting}", help=meaning)
            command.add_argument(
                "--publish", action="store_true", help="put the report among the book's records"
            )
            _add_settings(command, OF_SURVEYS)
        elif name not in ("notebooks", "pdf"):
            _add_settings(command, SETTINGS)
        if name == "run":
            command.add_argument("--only", nargs="+", help=f"some of {', '.join(METHODS)}")
            command.add_argument("--extra", nargs="+", help="measurements such as stronger")
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
    only: list[str] = COMPARED,
    minutes: float = math.inf,
    long: bool = False,
    extra: list[str] = (),
    **settings,
) -> None:
    """Train and measure the networks of a study."""
    study = Study.of(**settings)
    print(study, flush=True)
    compute(_shortest_last(_requests(study, only, extra)), study.device, minutes, long)


def grid(
    file: Path,
    device: str | None = None,
    shard: str = "1/1",
    minutes: float = math.inf,
    long: bool = False,
) -> None:
    """Make the records of a list of settings, in its order, and publish them with the book."""
    requests, device = listed(file, device)
    compute(_shard(requests, shard), device, minutes, long, publish=True)


def listed(file: Path, device: str | None = None) -> tuple[list[Request], str]:
    """The records that a list of settings asks for, in its order, and on which device.

    Args:
        file: TOML; see book/records.
        device: None: that of the presets.

    Raises:
        ParameterError: names the setting, its value and what is allowed.
    """
    try:
        entries = tomllib.loads(file.read_text(encoding="utf-8"))["run"]
        if not entries or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(entries)
    except (OSError, KeyError, ValueError) as error:
        raise ParameterError(
            f"file must be a TOML list of [[run]] tables; got {file} ({error!r})"
        ) from error
    devices, requests, allowed = set(), [], [name for name in SETTINGS if name != "device"]
    for entry in entries:
        only, extra = entry.pop("only", COMPARED), entry.pop("extra", ())
        if unknown := [name for name in entry if name not in allowed]:
            known = ", ".join(["only", "extra", *allowed])
            raise ParameterError(f"{file} has a setting {unknown[0]!r}; allowed are {known}")
        study = Study.of(**entry, device=device)
        devices.add(study.device)
        requests += _requests(study, only, extra)
    if len(devices) > 1:
        raise ParameterError(f"device must be given; presets want {' and '.join(sorted(devices))}")
    return requests, devices.pop()


def neighbours(only: list[str] = (), seeds: Any = None, publish: bool = False) -> None:
    """Compute what the chapters on neighbouring papers show, several experiments side by side."""
    known = {neighbour.chapter: neighbour for neighbour in NEIGHBOURS}
    for chapter in only:
        check_one_of("only", chapter, known)
    given = {} if seeds is None else {"seeds": seeds_of(seeds)}
    chapters = []
    for neighbour in reversed([known[chapter] for chapter in only or known]):  # slowest first
        settings = neighbour.settings(**given)
        chapters.append([(one, settings, seed) for one, seed in neighbour.tasks(settings)])
    run_experiments(chapters, publish)


def show_claims(**settings) -> None:
    """Print the verdicts on the paper's claims."""
    verdicts = claims.judge(records(Study.of(**settings)))
    print("\n".join(verdict.details() for verdict in verdicts))


def survey(publish: bool = False, **settings) -> None:
    """Report on a network of your own: collapse, attack, and what others score."""
    own = {name: settings.pop(name) for name in OF_NETWORKS if name in settings}
    named = Named(**{"out": "report"} | own)
    report, out = named.report(Study.of(**settings)), Path(named.out)
    report.save(out)
    if publish:
        print(f"published as {report.publish()}")
    from rnc.show import report as shown  # pandas and matplotlib: not needed to measure

    kept = others()
    for name, figure in {
        "layers": shown.layers(report),
        "landing": shown.landing(report),
        "others": shown.among([report, *kept], own=1),
    }.items():
        figure.savefig(out / f"{name}.svg")
    print(f"\n{shown.text(report, kept)}\n\nTable and figures are in {out}.")


def book(**settings) -> None:
    """Run every notebook and render the book."""
    study = Study.of(**settings)
    print(study, flush=True)
    # the page on claims compares with quick
    first = _requests(study.first_seed(), extra=AUDITED + study.in_seconds("thumbnails"))
    compute(_shortest_last(first + _requests(study) + _requests(Study.of())), study.device)
    neighbours()
    from rnc.show import book as renderer  # Jupyter is not needed for the other commands

    if study.seeds != PRESETS[study.preset].seeds:
        # chapters show one network of each kind, the claims page all seeds
        settings |= {"seed": study.seeds[0], "seeds": ",".join(map(str, study.seeds))}
    renderer.render(study, settings)


def refresh_notebooks() -> None:
    """Make the notebooks anew from their text twins, with the outputs that tests compare."""
    from rnc.show import book as renderer

    renderer.refresh()


def print_book() -> None:
    """Print the book that was rendered last, as a PDF file."""
    from rnc.show import book as renderer

    renderer.pdf()


COMMANDS = {
    "run": run,
    "grid": grid,
    "neighbours": neighbours,
    "claims": show_claims,
    "survey": survey,
    "book": book,
    "pdf": print_book,
    "notebooks": refresh_notebooks,
}


def _add_settings(command: argparse.ArgumentParser, names: Iterable[str]) -> None:
    for name in names:
        command.add_argument(f"--{name}", type=_value, help=f"({SETTINGS[name].annotation})")


def _requests(study: Study, only: Any = COMPARED, extra: Any = ()) -> list[Request]:
    """The records of a study, seed by seed."""
    if not isinstance(only, list | tuple) or not only:
        raise ParameterError(f"only must be a list of {', '.join(METHODS)}; got {only!r}")
    if not isinstance(extra, list | tuple):
        raise ParameterError(f"extra must be a list such as stronger, early; got {extra!r}")
    for name in only:
        check_one_of("only", name, METHODS)
    return [
        Request(training, study.evaluation, tuple(extra))
        for seed in study.seeds
        for training in study.trainings(*only, seed=seed)
    ]


def _shortest_last(requests: list[Request]) -> list[Request]:
    """ST ends soon, so that no core waits long at the end; a network once, as first asked for."""
    once: dict[tuple, Request] = {}
    for request in requests:
        once.setdefault((request.training, request.evaluation), request)
    return sorted(once.values(), key=lambda request: request.training.method.perturb is None)


def _shard(requests: list[Request], shard: str) -> list[Request]:
    try:
        k, n = map(int, shard.split("/"))
        if 1 <= k <= n:
            return requests[k - 1 :: n]
    except ValueError:
        pass
    raise ParameterError(f"shard must be such as 2/8, the second of eight; got {shard!r}")


def _value(text: str):
    try:
        return json.loads(text)
    except ValueError:
        return text
