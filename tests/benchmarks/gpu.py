"""Half an hour of a GPU without a network, by one command that is given as often as one likes.

Needs torch, torchvision, numpy and what `python -m rnc grid` imports; the package need not be
installed. At home, the data in two halves of which each fits into what one command may carry:

    python tests/benchmarks/gpu.py split DATA/cifar10 HALVES

There, with half of the data, then with the other one, then to see how it stands and to go on:

    export RNC_COMMIT=...                # for the records, where the copy has no history
    python tests/benchmarks/gpu.py go HALVES/1 --out OUT
    python tests/benchmarks/gpu.py go HALVES/2 --out OUT --wait 400
    python tests/benchmarks/gpu.py go --out OUT --wait 500 --weights at

Each `go` does what is left to do: puts the data together, runs the benchmark, chooses the number
of epochs by it (see `length`), writes the list of runs, most wanted first, and begins it, or goes
on with it, in a session of its own, which outlasts the command and ends --minutes after the first
`go`. It waits as long as it is told, packs all results into a few files in OUT
(`cat OUT/results.tar.gz.* | tar xz`), and prints them.
"""

import argparse
import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmark import matrix_rate, operations

from rnc import cli, progress
from rnc.errors import UserError, check_one_of
from rnc.models import MODELS
from rnc.study import data, folders, store
from rnc.study.capture import CaptureFailed, prepare
from rnc.study.files import read_json, write, write_json
from rnc.study.folders import CHECKOUT
from rnc.study.provenance import environment
from rnc.study.settings import COMPARED, Study
from rnc.study.step import Step
from rnc.study.training import build, reproducible

# of every run; any may be given another value by --settings
COMMON = {"preset": "paper", "seed": 1, "measured_per_class": 1000}
LENGTHS = (60, 100, 200, 400)  # in epochs; the last is the paper's
BUDGET = 1350  # seconds of half an hour that are left for training and measuring
MEASURING = 45  # seconds that it takes to measure one network
WORTH = 1.25  # gain from which on networks are trained side by side
HALF = 60_000_000  # bytes that one command carries there
PARTS, PART = 4, 16 * 2**20  # files that it carries back, and bytes of one


# Data, in two halves ------------------------------------------------------------------------
#
# DATA/cifar10/index.json and DATA/cifar10/{train,test}/*.webp: mosaics of `tile` x `tile` pixels,
# `columns` in a row; of each file its classes, one after the other, `images_per_class`, and the
# SHA-256 of all of its pixels.


def split(source: Path, to: Path) -> None:
    """Copies a data set, such as DATA/cifar10, to the folders `to`/1 and `to`/2.

    Raises:
        UserError: a half would be larger than HALF bytes.
    """
    files = json.loads((source / "index.json").read_text())["files"]
    half, size = 1, 0
    for file in sorted(files, key=lambda file: Path(file).parts[1] != "test"):
        path = source.parent / file
        if size + path.stat().st_size > HALF:
            half, size = half + 1, 0
        if half > 2:
            raise UserError(f"{source} must fit into two folders of {HALF:,} bytes; it does not")
        size += path.stat().st_size
        for each in (file, f"{source.name}/index.json"):
            (to / str(half) / each).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source.parent / each, to / str(half) / each)
    print(f"{len(files)} files in {half} folders in {to}")


def lacking(halves: list[Path], dataset: str, mosaics: Path) -> list[str]:
    """Takes what halves hold of a data set to the folder `mosaics`, and when all of it is there,
    from there to one file of arrays in the data folder.

    Returns:
        The files that are still to come.

    Raises:
        UserError: a half is not what `split` makes, or a file is not what it was.
    """
    there = folders.data()
    for half in halves:
        if not (half / dataset / "index.json").is_file():
            raise UserError(f"a half must be a folder with {dataset}/index.json; got {half}")
        for path in sorted((half / dataset).rglob("*.*")):
            if path.suffix != ".json":
                opened(path).close()  # whether it can be read is said now, not when all is there
            write(mosaics / path.relative_to(half), path.read_bytes())
    if (there / f"{dataset}.npz").exists() or (there / dataset / "train").is_dir():
        return []
    index = read_json(mosaics / dataset / "index.json")
    if index is None:
        return [f"all of {dataset}"]
    missing = [file for file in index["files"] if not (mosaics / file).exists()]
    if not missing:
        content = io.BytesIO()
        np.savez(content, **assembled(index, mosaics))
        write(there / f"{dataset}.npz", content.getvalue())
    return missing


def opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except OSError as error:
        raise UserError(f"{path} is no image that Pillow can read here ({error})") from error


def assembled(index: dict, mosaics: Path) -> dict[str, np.ndarray]:
    """What `rnc.study.data.arrays` reads, from the mosaics of an index."""
    tile, columns = index["tile"], index["columns"]
    found: dict[str, dict[str, np.ndarray]] = {"train": {}, "test": {}}
    for file, entry in index["files"].items():
        with opened(mosaics / file) as image:
            mosaic = np.asarray(image.convert("RGB"))
        images = mosaic.reshape(-1, tile, columns, tile, 3).swapaxes(1, 2)
        images = np.ascontiguousarray(images).reshape(-1, tile, tile, 3)
        if hashlib.sha256(images).hexdigest() != entry["sha256_pixels"]:
            raise UserError(f"{mosaics / file} is not the file that index.json speaks of")
        blocks = images[: len(entry["classes"]) * entry["images_per_class"]]
        for name, block in zip(
            entry["classes"], np.split(blocks, len(entry["classes"])), strict=True
        ):
            found[Path(file).parts[1]][name] = block
    classes = sorted(found["train"])
    arrays = {"classes": np.array(classes)}
    for end, part in (("", "train"), ("_test", "test")):
        blocks = [found[part][name] for name in classes]
        arrays[f"x{end}"] = np.concatenate(blocks)
        arrays[f"y{end}"] = np.repeat(np.arange(len(classes)), [len(block) for block in blocks])
    return arrays


# The benchmark ------------------------------------------------------------------------------


def benchmark(study: Study, updates: int, file: Path) -> None:
    """Times updates of each method from random bytes: as they are, on a GPU as graphs, and those
    of all methods side by side; prints them, and keeps in a file what it has so far.

    The file holds `environment`, `matrix_rate` (bfloat16 products, FLOP/s), `rows` and, if it came
    to the end, `gain`: how many times faster side by side is than one after the other. A row has
    the `method`, `how` it ran, its `seconds` for an epoch, `images` and `flops` a second, and
    `share`, of flops in the matrix rate.
    """
    base, where = study.base, torch.device(study.device)
    check_one_of("dataset", base.dataset, data.DATASETS)
    known = data.DATASETS[base.dataset]
    points = known.classes * (base.per_class or known.per_class)
    images = random_images(known, updates * base.batch, where)
    rate = matrix_rate(where.type)
    found = {"environment": environment(where), "matrix_rate": rate, "rows": []}
    print(f"{base.scale}\n{found['environment']}")
    print(f"products of bfloat16 matrices: {rate / 1e12:.3g} TFLOP/s")

    def timed(training, step: Step, how: str) -> float:
        seconds = elapsed([step])
        flops = updates * operations(
            training,
            lambda: MODELS[base.model](known.classes, base.width),
            (base.batch, *known.shape),
        )
        row = {
            "method": training.method.name,
            "how": how,
            "seconds": seconds * points / len(images.y),
            "images": len(images.y) / seconds,
            "flops": flops / seconds,
            "share": flops / seconds / rate,
        }
        found["rows"].append(row)
        write_json(file, found)
        print(
            f"{row['method']}, {how}: {row['seconds']:.2f} s an epoch, {row['images']:,.0f} "
            f"images/s, {row['flops'] / 1e12:.3g} TFLOP/s, {row['share']:.1%} of that",
            flush=True,
        )
        return seconds

    steps, alone = [], 0.0
    with reproducible(where):
        for training in study.trainings():
            step = Step(training, build(training, images), images)
            seconds = timed(training, step, "eager")
            if how := prepare(step):
                seconds = timed(training, step, how)
            steps.append(step)
            alone += seconds
        found["gain"] = alone / elapsed(steps)
    write_json(file, found)
    print(f"side by side {found['gain']:.2f} times faster than one after the other", flush=True)


def random_images(known: data.DataSet, count: int, where: torch.device) -> data.Images:
    """As many random bytes and labels as that, in the shape of a data set."""
    noise = torch.Generator().manual_seed(0)
    x = torch.randint(256, (count, *known.shape), dtype=torch.uint8, generator=noise)
    x = x.to(where, memory_format=torch.channels_last)
    y = torch.randint(known.classes, (count,), generator=noise).to(where)
    channels, names = known.shape[0], tuple(map(str, range(known.classes)))
    return data.Images(x, y, x[:0], y[:0], names, (0.5,) * channels, (0.25,) * channels)


def elapsed(steps: list[Step]) -> float:
    """Seconds of an epoch of each, side by side: a thread for each, and on a GPU its own stream.

    The steps are captured, if at all, before: nothing else may run on a GPU during a capture.
    """

    def epoch(step: Step) -> None:
        with step.running():
            step.epoch(0)

    with ThreadPoolExecutor(len(steps)) as pool:
        list(pool.map(epoch, steps))  # warms up
        began = time.perf_counter()
        list(pool.map(epoch, steps))
        return time.perf_counter() - began


# The list of runs ---------------------------------------------------------------------------


def length(seconds: dict[str, float], gain: float) -> int:
    """The number of epochs: the largest of LENGTHS for which all networks fit into BUDGET, with
    MEASURING for each, and the first of them if none fits.

    Args:
        seconds: of an epoch, by method.
        gain: of side by side, which counts from WORTH on.
    """
    epoch = sum(seconds.values()) / (gain if gain >= WORTH else 1)
    fit = [n for n in LENGTHS if n * epoch + len(seconds) * MEASURING <= BUDGET]
    return max(fit, default=LENGTHS[0])


def chosen(found: dict) -> int:
    """`length` of what a benchmark found; that of none if it did not come to the end."""
    seconds = {row["method"]: row["seconds"] for row in found.get("rows", [])}  # the last counts
    return length(seconds, found["gain"]) if "gain" in found else LENGTHS[0]


def listed(epochs: int, settings: dict) -> str:
    """The runs as `python -m rnc grid` reads them, most wanted first.

    Args:
        epochs: of all but the last, which has the paper's.
        settings: instead of those of COMMON; where they name the epochs, there is no last.
    """
    common = COMMON | {"epochs": epochs} | settings
    runs = [common | {"only": COMPARED, "extra": ["stronger"]}]
    if common["epochs"] < LENGTHS[-1] and "epochs" not in settings:
        runs.append(common | {"epochs": LENGTHS[-1], "only": ["st"], "extra": ["stronger"]})
    return "\n".join(
        "[[run]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in run.items())
        for run in runs
    )


# The run ------------------------------------------------------------------------------------


def running(place: Path) -> bool:
    """Whether the run is under way: it holds a lock as long as it lives."""
    with (place / "run.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def start(place: Path, command: list[str]) -> None:
    """Begins Python in a session of its own, which outlasts this one; it appends to run.log."""
    shell = 'setsid "$@" >>"$0" 2>&1 </dev/null & echo $!'
    with (place / "run.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        begun = subprocess.run(
            ["sh", "-c", shell, place / "run.log", sys.executable, *command],
            cwd=CHECKOUT,
            pass_fds=[lock.fileno()],  # which keeps the lock
            capture_output=True,
            text=True,
            check=True,
        )
    (place / "run.pid").write_text(begun.stdout)
    print(f"begun: {' '.join(command)}; kill -- -{begun.stdout.strip()} ends it")


def in_order(file: Path, device: str, until: float) -> list[str]:
    """The command that makes the records of a list one after the other, until a time."""
    minutes = max(0.0, until - time.time()) / 60
    return ["-m", "rnc", "grid", str(file), "--device", device, "--minutes", f"{minutes:.2f}"]


def abreast(file: Path, device: str, until: float) -> None:
    """Makes the most wanted records of a list side by side, in threads of this process, as far as
    it gets, and then what is left one after the other, in others: one network's fault on a GPU is
    that of all in its process."""
    requests = cli.listed(file, device)[0][: len(COMPARED)]
    common = requests[0].training
    data.load(common.dataset, device, common.per_class)  # once, before there are threads

    def make(request: store.Request) -> None:
        with progress.until(until):
            store.make(request, device, long=True, publish=True)

    with reproducible(torch.device(device)), ThreadPoolExecutor(len(requests)) as pool:
        futures = {pool.submit(make, request): request for request in requests}
        for future in as_completed(futures):
            error = future.exception()
            ended = "done" if error is None else f"{type(error).__name__}: {error}"
            print(f"{futures[future].training}, side by side: {ended}", flush=True)
    os.execv(sys.executable, [sys.executable, *in_order(file, device, until)])


# Results ------------------------------------------------------------------------------------


def pack(place: Path, out: Path, weights: list[Path]) -> list[Path]:
    """Packs all that was found, and of weights what has room beside it, into files of at most PART
    bytes each, PARTS at most; older ones are removed.

    Raises:
        UserError: there is more.
    """
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob("results.tar.gz.*"), *out.glob("*.safetensors.*")):
        old.unlink()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for path in sorted(place.rglob("*")):
            if path.suffix in (".json", ".toml", ".log") and "mosaics" not in path.parts:
                tar.add(path, path.relative_to(place))
    packed: list[Path] = []
    for name, whole in [("results.tar.gz", content.getvalue())] + [
        (f"{path.parent.name}.{path.name}", path.read_bytes()) for path in weights
    ]:
        pieces = [whole[at : at + PART] for at in range(0, len(whole), PART)]
        if len(packed) + len(pieces) > PARTS:
            if not packed:
                raise UserError(
                    f"{name} must fit into {PARTS} files of {PART:,} bytes; it has {len(whole):,}"
                )
            print(f"{name} has no room in {out}")
            continue
        for i, piece in enumerate(pieces):
            packed.append(out / f"{name}.{i}")
            packed[-1].write_bytes(piece)
    return packed


def row(request: store.Request) -> list[str]:
    """How a network stands, and what is known of it."""
    training, home = request.training, store.home(request.training)
    whole = store.find(request)
    record = whole or store.find(replace(request, extra=()))
    snapshots = sorted(home.glob("epoch-*.safetensors"))
    if whole:
        stands = "done"
    elif record:
        stands = "measured"
    elif (home / "training.json").exists():
        stands = "trained"
    else:
        stands = f"past {int(snapshots[-1].stem[6:])}" if snapshots else "not begun"
    values = []
    if record:
        values = [
            record.end(points, m) for m in ("accuracy", "nc1") for points in ("clean", "pgd")
        ]
        values += [record["test"]["clean"], record["test"]["pgd"]]
        values += [record["stronger"]["end"]["pgd"]["accuracy"]] * ("stronger" in record.measured)
    return [str(training), str(training.epochs), stands, *(f"{value:.3g}" for value in values)]


HEAD = (
    "network", "epochs", "stands",
    "clean", "PGD", "NC1", "NC1 PGD", "test", "test PGD", "stronger",
)  # fmt: skip


def table(requests: list[store.Request]) -> str:
    """Of all networks; accuracies and NC1 on clean points and under PGD."""
    rows = [HEAD, *map(row, requests)]
    rows = [[*cells, *[""] * (len(HEAD) - len(cells))] for cells in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in rows
    )


# The commands -------------------------------------------------------------------------------


def go(
    halves: list[Path],
    work: Path,
    out: Path,
    minutes: float,
    wait: float,
    settings: dict,
    device: str,
    updates: int,
    weights: str | None,
) -> None:
    """Does what is left to do; see the top of this file."""
    place = work.absolute()
    if not (place / "began").exists():
        write(place / "began", str(time.time()).encode())
    until = float((place / "began").read_text()) + 60 * minutes
    for variable, name in {"RNC_STORE": "store", "RNC_RECORDS": "records"}.items():
        os.environ[variable] = str(place / name)
    os.environ.setdefault("RNC_DATA", str(place / "data"))
    os.environ["RNC_DATA"] = str(folders.data())  # whatever folder a command is given in
    study = Study.of(**COMMON | settings, device=device)
    missing = lacking(halves, study.base.dataset, place / "mosaics")
    file, found = place / "grid.toml", place / "benchmark.json"
    if not found.exists():  # in a process of its own: a fault on a GPU is not this one's
        of = ["--device", device, "--updates", str(updates), "--settings", json.dumps(settings)]
        subprocess.run([sys.executable, __file__, "benchmark", "--to", str(found), *of])
    known = read_json(found) or {}
    if not file.exists():
        write(file, listed(chosen(known), settings).encode())
    requests, _ = cli.listed(file, device)
    print(f"epochs: {requests[0].training.epochs}")
    if missing:
        print(f"data to come: {', '.join(missing)}")
    else:
        if time.time() < until and not running(place) and None in map(store.find, requests):
            # side by side only once: whatever ended it may end it again
            if known.get("gain", 0) >= WORTH and not (place / "run.log").exists():
                command = [__file__, "abreast", str(file), "--device", device]
                start(place, [*command, "--until", str(until)])
            else:
                start(place, in_order(file, device, until))
        stop = time.time() + wait
        while running(place) and time.time() < stop:
            time.sleep(0.2)
        if (place / "run.log").exists():
            print("\n".join((place / "run.log").read_text().splitlines()[-8:]))
        stands = "under way" if running(place) else "at rest"
        print(f"the run is {stands}; {until - time.time():.0f} s of it are left")
    ends = [
        store.home(t) / f"epoch-{t.epochs:04d}.safetensors"
        for t in (request.training for request in requests)
        if t.method.name == weights and (store.home(t) / "training.json").exists()
    ]
    for path in pack(place, out, ends):
        print(f"{path}: {path.stat().st_size:,} bytes")
    print(table(requests))


def main(arguments: list[str] | None = None) -> None:
    """A mistake in an argument ends it with one sentence and status 2."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    cut = commands.add_parser("split", help=split.__doc__.splitlines()[0])
    cut.add_argument("source", type=Path)
    cut.add_argument("to", type=Path)
    one = commands.add_parser("go", help=go.__doc__.splitlines()[0])
    one.add_argument("halves", type=Path, nargs="*", help="of the data, as split makes them")
    one.add_argument("--work", type=Path, default=CHECKOUT / "runs" / "gpu", help="where all lies")
    one.add_argument("--out", type=Path, required=True, help="where results are packed to")
    one.add_argument("--minutes", type=float, default=25, help="from the first go to the end")
    one.add_argument("--wait", type=float, default=0, help="seconds, for the run to end")
    one.add_argument("--weights", choices=COMPARED, help="pack its last weights too")
    timing = commands.add_parser("benchmark", help=benchmark.__doc__.splitlines()[0])
    timing.add_argument("--to", type=Path, required=True, help="the file to keep it in")
    for command in (one, timing):
        command.add_argument(
            "--settings", type=json.loads, default={}, help="of the runs, as JSON"
        )
        command.add_argument("--device", default="cuda")
        command.add_argument("--updates", type=int, default=60, help="that are timed")
    several = commands.add_parser("abreast", help=abreast.__doc__.splitlines()[0])
    several.add_argument("file", type=Path)
    several.add_argument("--device")
    several.add_argument("--until", type=float)
    given = vars(parser.parse_args(arguments))
    try:
        match given.pop("command"):
            case "split":
                split(**given)
            case "go":
                go(**given)
            case "abreast":
                abreast(**given)
            case "benchmark":
                study = Study.of(**COMMON | given["settings"], device=given["device"])
                benchmark(study, given["updates"], given["to"])
    except (UserError, CaptureFailed) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
