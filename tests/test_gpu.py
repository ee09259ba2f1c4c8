"""The command for half an hour of a GPU, rehearsed on a CPU, on tiny random images."""

import hashlib
import json
import os
import signal
import tarfile
import time
from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace

import gpu
import numpy as np
import pytest
from PIL import Image

from rnc import cli
from rnc.errors import UserError
from rnc.study import data, store
from rnc.study.settings import COMPARED

CLASSES = [f"class {k}" for k in range(10)]
FOLDERS = ("RNC_STORE", "RNC_RECORDS", "RNC_DATA")
SETTINGS = {"width": 2, "epochs": 6, "steps": 1, "precision": "float32", "measured_per_class": 3}
# in every Python of the rehearsal: as often as on a GPU, where that is a minute of many epochs
CHECKPOINTS = "from rnc.study import training\ntraining.CHECKPOINT_SECONDS = {'cpu': 0}\n"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A data set as it is carried; its pixels, by part and class."""
    folder, rng = tmp_path_factory.mktemp("source") / "cifar10", np.random.default_rng(0)
    files, pixels = {}, {}
    for part, count in (("train", 6), ("test", 3)):
        (folder / part).mkdir(parents=True)
        for group in (CLASSES[4:7], CLASSES[:4], CLASSES[7:]):
            file = f"cifar10/{part}/{group[0]}.png"
            images = rng.integers(0, 256, (len(group) * count, 16, 16, 3), dtype=np.uint8)
            rows = images.reshape(-1, 3, 16, 16, 3).swapaxes(1, 2).reshape(-1, 3 * 16, 3)
            Image.fromarray(rows).save(folder.parent / file)
            digest = hashlib.sha256(images).hexdigest()
            entry = {"classes": group, "images_per_class": count, "sha256_pixels": digest}
            files[file] = entry
            blocks = images.reshape(-1, count, 16, 16, 3)
            pixels |= {(part, name): b for name, b in zip(group, blocks, strict=True)}
    index = {"tile": 16, "columns": 3, "files": files}
    (folder / "index.json").write_text(json.dumps(index))
    return folder, pixels


@pytest.fixture
def size(source):
    return sum(path.stat().st_size for path in source[0].rglob("*.png"))


@pytest.fixture
def at_home(tmp_path, monkeypatch):
    """Folders that a command sets are put back; a store, records and data of its own."""
    for name in FOLDERS:
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


# Data ---------------------------------------------------------------------------------------


def test_data_from_two_halves_are_those_from_one(source, size, at_home, monkeypatch):
    folder, pixels = source
    monkeypatch.setattr(gpu, "HALF", int(size * 0.7))
    gpu.split(folder, at_home / "halves")
    halves = [at_home / "halves" / name for name in "12"]
    for half in halves:
        assert 0 < sum(path.stat().st_size for path in half.rglob("*.png")) <= gpu.HALF
    found = []
    for way in ([[folder.parent]], [[half] for half in halves], [halves[::-1]]):
        monkeypatch.setenv("RNC_DATA", str(at_home / f"data {len(found)}"))
        mosaics = at_home / f"mosaics {len(found)}"
        *missing, last = [gpu.lacking(carried, "cifar10", mosaics) for carried in way]
        assert all("cifar10/train/class 7.png" in of for of in missing)
        assert last == []
        assert gpu.lacking([], "cifar10", mosaics) == []
        found.append(data.load("cifar10"))
    assert found[0].classes == tuple(CLASSES)
    for part, x in (("train", found[0].x), ("test", found[0].x_test)):
        expected = np.concatenate([pixels[part, name] for name in CLASSES])
        assert (x.permute(0, 2, 3, 1).numpy() == expected).all()
    assert len({images.digest for images in found}) == 1


def test_what_is_wrong_with_a_half_is_said(source, size, at_home, monkeypatch):
    folder, _ = source
    with pytest.raises(UserError, match=r"a half must be a folder with cifar10/index.json; got"):
        gpu.lacking([folder], "cifar10", at_home)
    assert gpu.lacking([], "cifar10", at_home / "none") == ["all of cifar10"]
    monkeypatch.setattr(gpu, "HALF", size // 3)
    with pytest.raises(UserError, match=f"must fit into two folders of {size // 3:,} bytes"):
        gpu.split(folder, at_home / "halves")
    monkeypatch.setattr(gpu, "HALF", size)
    gpu.split(folder, at_home / "whole")
    file = at_home / "whole" / "1" / "cifar10" / "train" / "class 0.png"
    Image.new("RGB", (48, 128)).save(file)
    with pytest.raises(UserError, match=r"class 0.png is not the file that index.json speaks of"):
        gpu.lacking([at_home / "whole" / "1"], "cifar10", at_home / "mosaics")
    file.write_bytes(b"no")
    with pytest.raises(UserError, match=r"class 0.png is no image that Pillow can read here"):
        gpu.lacking([at_home / "whole" / "1"], "cifar10", at_home / "mosaics")


# The list ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "gain", "epochs"),
    [
        # (1350 - 4 * 45) / 100 = 11.7 s for an epoch of all four
        ([0.4, 3.7, 3.8, 3.8], 1, 100),
        ([0.4, 3.7, 3.8, 3.9], 1, 60),
        ([0.4, 3.7, 3.8, 3.9], 1.24, 60),
        ([0.4, 3.7, 3.8, 3.9], 1.25, 100),
        ([0.4, 3.3, 3.4, 3.4], 1.79, 100),  # 5.85 s for 200 epochs
        ([0.4, 3.3, 3.4, 3.4], 1.8, 200),
        ([0.1, 0.9, 0.9, 1], 1, 400),
        ([5, 50, 50, 50], 2, 60),
    ],
)
def test_the_number_of_epochs_is_the_largest_that_fits(seconds, gain, epochs):
    assert gpu.length(dict(zip(COMPARED, seconds, strict=True)), gain) == epochs


@pytest.mark.parametrize(
    ("epochs", "settings", "lengths"),
    [
        (100, {}, [100, 100, 100, 100, 400]),
        (400, {}, [400, 400, 400, 400]),
        (60, {"epochs": 30, "model": "preactresnet18"}, [30, 30, 30, 30]),
    ],
)
def test_the_list_is_what_a_grid_reads(at_home, epochs, settings, lengths):
    (at_home / "grid.toml").write_text(gpu.listed(epochs, settings))
    requests, _ = cli.listed(at_home / "grid.toml", "cpu")
    trainings = [request.training for request in requests]
    assert [training.epochs for training in trainings] == lengths
    assert [training.method.name for training in trainings] == [*COMPARED, "st"][: len(lengths)]
    for request in requests:
        assert request.extra == ("stronger",)
        assert request.evaluation.per_class == gpu.COMMON["measured_per_class"]
        assert request.training.width == 64
        assert request.training.model == settings.get("model", "vgg11")


# Packing ------------------------------------------------------------------------------------


def test_what_is_packed_stays_within_its_bounds(at_home, monkeypatch, capsys):
    noise = np.random.default_rng(0)
    monkeypatch.setattr(gpu, "PART", 1000)
    for name, count in (("records/a.json", 1200), ("mosaics/b.json", 9000), ("run.log", 10)):
        (at_home / name).parent.mkdir(exist_ok=True)
        (at_home / name).write_bytes(noise.bytes(count))
    weights = at_home / "network" / "epoch-0003.safetensors"
    weights.parent.mkdir()
    out = at_home / "out"

    def packed(size):
        weights.write_bytes(noise.bytes(size))
        found = gpu.pack(at_home, out, [weights])
        assert sorted(found) == sorted(out.iterdir())
        assert len(found) <= gpu.PARTS
        assert all(0 < path.stat().st_size <= 1000 for path in found)
        return b"".join(path.read_bytes() for path in found if "results" in path.name), found

    content, found = packed(1100)
    with tarfile.open(fileobj=BytesIO(content)) as tar:
        assert sorted(tar.getnames()) == ["records/a.json", "run.log"]
        kept = tar.extractfile("records/a.json").read()
    assert kept == (at_home / "records" / "a.json").read_bytes()
    assert b"".join(path.read_bytes() for path in found[2:]) == weights.read_bytes()
    assert len(packed(2100)[1]) == 2
    assert "network.epoch-0003.safetensors has no room" in capsys.readouterr().out
    (at_home / "run.log").write_bytes(noise.bytes(3000))
    with pytest.raises(UserError, match=r"results.tar.gz must fit into 4 files of 1,000 bytes"):
        packed(1)


# The rehearsal ------------------------------------------------------------------------------


def values(records):
    """What records hold, by file, without where and when."""
    return {
        str(path.relative_to(records)): {
            name: value
            for name, value in json.loads(path.read_text()).items()
            if name not in ("environment", "seconds")
        }
        for path in records.rglob("*.json")
    }


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """A folder with the list, and data and records of an uninterrupted run of it."""
    place = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        for name in FOLDERS:
            patch.setenv(name, str(place / name))
        assert gpu.lacking([source[0].parent], "cifar10", place / "mosaics") == []
        (place / "grid.toml").write_text(gpu.listed(60, SETTINGS))
        for request in cli.listed(place / "grid.toml", "cpu")[0]:
            store.make(request, long=True, publish=True)
    assert len({name.split("/")[1] for name in values(place / "RNC_RECORDS")}) == 4
    return place


def test_networks_side_by_side_end_as_one_after_the_other(whole, at_home, monkeypatch, capsys):
    monkeypatch.setenv("RNC_DATA", str(whole / "RNC_DATA"))
    then = []
    monkeypatch.setattr(os, "execv", lambda *command: then.append(command))
    gpu.abreast(whole / "grid.toml", "cpu", time.time() + 60)
    assert capsys.readouterr().out.count(", side by side: done\n") == 4
    assert values(at_home / "RNC_RECORDS") == values(whole / "RNC_RECORDS")
    ((_, (_, *command)),) = then
    assert command[:3] == ["-m", "rnc", "grid"]
    assert 0 < float(command[-1]) <= 1, "minutes"


def test_time_that_is_over_ends_all_that_are_side_by_side(whole, at_home, monkeypatch, capsys):
    monkeypatch.setenv("RNC_DATA", str(whole / "RNC_DATA"))
    monkeypatch.setattr(os, "execv", lambda *command: None)
    gpu.abreast(whole / "grid.toml", "cpu", time.time())
    assert capsys.readouterr().out.count("side by side: OutOfTime: time is over: training") == 4


def killed(work, under_way):
    """Kills all of a run once something is under way."""
    while not under_way():
        assert gpu.running(work), (work / "run.log").read_text()
        time.sleep(0.002)
    os.killpg(int((work / "run.pid").read_text()), signal.SIGKILL)
    while gpu.running(work):
        time.sleep(0.002)


def test_killed_in_training_and_in_stronger_attacks_it_ends_with_the_same_records(
    source, whole, at_home, monkeypatch, capsys
):
    work, python = at_home / "work", at_home / "python"
    python.mkdir()
    (python / "sitecustomize.py").write_text(CHECKPOINTS)
    monkeypatch.setenv("PYTHONPATH", f"{python}{os.pathsep}{gpu.CHECKOUT}")
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # one network at a time, in one process
    monkeypatch.delenv("RNC_DATA")
    work.mkdir()
    (work / "benchmark.json").write_text(json.dumps({"gain": 2}))

    def go(*options):
        settings = ["--settings", json.dumps(SETTINGS), "--device", "cpu"]
        folders = ["--work", str(work), "--out", str(at_home / "out")]
        gpu.main(["go", str(source[0].parent), *folders, *settings, *options])
        return capsys.readouterr().out

    said = go()
    assert "gpu.py abreast" in said
    assert "the run is under way" in said
    request = cli.listed(work / "grid.toml", "cpu")[0][COMPARED.index("at")]
    at = store.home(request.training)
    killed(work, (at / "checkpoint.safetensors").exists)
    assert not (at / "training.json").exists()

    assert "begun: -m rnc grid" in go(), "what was side by side goes on one after the other"
    parts = at.parent.glob
    killed(work, lambda: any('"parts"' in f.read_text() for f in parts("*/*/stronger.1.json")))
    assert "resuming" in (work / "run.log").read_text()

    said = go("--wait", "100")
    assert "the run is at rest" in said
    *_, head, st, at_row, trades, frozen = said.splitlines()
    assert head.split()[:3] == ["network", "epochs", "stands"]
    assert all("  6       done    " in row for row in (st, at_row, trades, frozen))
    assert values(work / "records") == values(whole / "RNC_RECORDS")

    assert "begun" not in go("--weights", "at")
    assert len(list((at_home / "out").iterdir())) == 2
    assert next((at_home / "out").glob("*.safetensors.0")).stat().st_size > 1000
    with tarfile.open(at_home / "out" / "results.tar.gz.0") as tar:
        tar.extractall(at_home / "back", filter="data")
    assert values(at_home / "back" / "records") == values(whole / "RNC_RECORDS")
    for name in ("grid.toml", "run.log", "benchmark.json"):
        assert (at_home / "back" / name).read_bytes() == (work / name).read_bytes()


def test_with_half_of_the_data_it_benchmarks_and_says_what_is_to_come(
    source, size, at_home, monkeypatch, capsys
):
    monkeypatch.setattr(gpu, "HALF", int(size * 0.7))
    gpu.split(source[0], at_home / "halves")
    monkeypatch.delenv("RNC_DATA")
    smaller = replace(data.DATASETS["cifar10"], shape=(3, 8, 8))
    monkeypatch.setitem(data.DATASETS, "cifar10", smaller)
    # in this process, which has begun already
    here = SimpleNamespace(run=lambda command: gpu.main(command[2:]))
    monkeypatch.setattr(gpu, "subprocess", here)
    folders = ["--work", str(at_home / "work"), "--out", str(at_home / "out")]
    settings = ["--settings", json.dumps({"width": 2}), "--device", "cpu", "--updates", "1"]
    gpu.main(["go", str(at_home / "halves" / "1"), *folders, *settings])
    said = capsys.readouterr().out
    assert said.count("s an epoch") == 4
    assert "times faster than one after the other" in said
    assert "data to come: cifar10/train/class 0.png, cifar10/train/class 7.png\n" in said
    assert said.count("not begun") == 5
    assert not (at_home / "work" / "run.log").exists()
    assert [path.name for path in (at_home / "out").iterdir()] == ["results.tar.gz.0"]

    found = json.loads((at_home / "work" / "benchmark.json").read_text())
    assert [row["method"] for row in found["rows"]] == list(COMPARED)
    for row in found["rows"]:
        assert row["how"] == "eager"
        assert row["seconds"] == pytest.approx(50_000 / row["images"])
        assert row["share"] == pytest.approx(row["flops"] / found["matrix_rate"])
    per_image = {row["method"]: row["flops"] / row["images"] for row in found["rows"]}
    assert 6 * per_image["st"] < per_image["at"] < per_image["trades"]
    assert per_image["trades"] == pytest.approx(per_image["trades-frozen"])
    assert f"epochs: {gpu.chosen(found)}\n" in said
    del found["gain"]
    assert gpu.chosen(found) == 60, "a benchmark that broke off"


def test_a_mistake_is_said_in_a_sentence(at_home, capsys):
    with pytest.raises(SystemExit, match="2"):
        gpu.main(["go", "--out", str(at_home), "--work", str(at_home), "--device", "tpu"])
    assert "device 'tpu' is not available on this machine" in capsys.readouterr().err
