"""A grid as a job array on a real Slurm of one node: make slurm

A lost node and a second submission do no harm, and a network that fails leaves the others alone.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rnc.study import folders, store
from rnc.study.measurements import MEASUREMENTS
from rnc.study.settings import Study
from rnc.study.store import Request

HERE = Path(__file__).parent / "here"
ARRAY = folders.CHECKOUT / "book" / "records" / "array.sbatch"
TINY = {"width": 2, "epochs": 2, "steps": 2, "per_class": 20}
LIST = '[[run]]\npreset = "quick"\n' + "".join(f"{n} = {v}\n" for n, v in TINY.items())


def ask(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def wait_until(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, ask("squeue")
        time.sleep(0.05)


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def at():
    study = Study.of(**TINY)
    return Request(study.training("at"), study.evaluation)


@pytest.fixture(scope="module")
def submitted(tmp_path_factory, patch, at):
    """What became of two submissions: of ST, whose folder is a file, and AT; and of AT again.

    The node was lost while AT was being measured.
    """
    if shutil.which("sbatch") is None:
        pytest.skip("no Slurm here (Debian's slurmctld, slurmd, slurm-client and munge)")
    folder = tmp_path_factory.mktemp("slurm")
    patch.setenv("RNC_STORE", str(folder / "store"))
    patch.setenv("RNC_RECORDS", str(folder / "records"))
    patch.setenv("SLURM_CONF", str(folder / "cluster" / "slurm.conf"))
    patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    for name, only in (("both", '["st", "at"]'), ("again", '["at"]')):
        (folder / f"{name}.toml").write_text(f"{LIST}only = {only}\n")
    blocked = store.home(Study.of(**TINY).training("st"))
    blocked.parent.mkdir(parents=True)
    blocked.touch()

    def submit(count, name):
        log = f"--output={folder}/%A_%a.log"
        return ask(
            "sbatch", "--parsable", log, f"--array=1-{count}", ARRAY, folder / f"{name}.toml"
        )

    subprocess.run([HERE, "up", folder / "cluster"], check=True)
    try:
        first = submit(2, "both")
        submit(1, "again")
        wait_until(at.path(MEASUREMENTS["trajectory"]).exists)
        begun = store.home(at.training) / "epoch-0000.safetensors"
        stamp = begun.stat().st_mtime_ns
        ask("scontrol", "update", f"nodename={socket.gethostname()}", "state=down", "reason=test")
        wait_until(lambda: not ask("squeue", "-h"))
        yield {
            "logs": {path.stem: path.read_text() for path in folder.glob("*.log")},
            "first": first,
            "restarts": ask("scontrol", "show", "job", f"{first}_2"),
            "trained once": begun.stat().st_mtime_ns == stamp,
        }
    finally:
        subprocess.run([HERE, "down", folder / "cluster"], check=True)


def test_a_lost_node_ends_with_the_record_of_an_uninterrupted_run(
    submitted, at, tmp_path, monkeypatch
):
    assert "Restarts=1" in submitted["restarts"]
    (record,) = store.published_records()
    assert record.training == at.training
    monkeypatch.setenv("RNC_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("RNC_RECORDS", str(tmp_path / "records"))
    whole = store.make(at)
    assert record.trained["network"] == whole.trained["network"]
    assert record.trained["history"] == whole.trained["history"]
    assert all(record[name] == whole[name] for name in whole.measured)


def test_submitted_twice_it_is_trained_once(submitted):
    assert submitted["trained once"]
    assert any("another process works on" in log for log in submitted["logs"].values())


def test_a_network_that_fails_leaves_the_others_alone(submitted):
    log = submitted["logs"][f"{submitted['first']}_1"]
    assert "1 of 1 failed: digits-20-vgg11w2-st" in log
    assert "cannot be written" in log
