"""The commit that a record notes is that of the code that made it, or none."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rnc.study import provenance

GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with this package's folder of the module, committed."""
    monkeypatch.delenv("RNC_COMMIT", raising=False)
    package = tmp_path / "repository" / "rnc" / "study"
    package.mkdir(parents=True)
    file = Path(shutil.copy(provenance.__file__, package / "provenance.py"))
    monkeypatch.setattr(provenance, "__file__", str(file))
    git(tmp_path / "repository", "init", "-q")
    return tmp_path / "repository"


def git(folder, *command):
    return subprocess.run(
        [*GIT, *command], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_commit_says_if_the_code_was_changed_since(checkout):
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "x")
    head = git(checkout, "rev-parse", "--short", "HEAD")
    assert provenance.commit() == head
    (checkout / "notes.txt").write_text("not of the package")
    assert provenance.commit() == head
    with open(provenance.__file__, "a") as file:
        file.write("# changed\n")
    assert provenance.commit() == f"{head} with uncommitted changes"


def test_within_another_repositorys_tree_its_commit_is_not_ours(checkout):
    """As when the package is installed in a virtual environment of some project."""
    (checkout / "theirs").write_text("x")
    git(checkout, "add", "theirs")
    git(checkout, "commit", "-qm", "x")
    assert provenance.commit() == "unknown"


def test_without_history_the_commit_can_be_told(checkout, monkeypatch):
    assert provenance.commit() == "unknown"
    monkeypatch.setenv("RNC_COMMIT", "abc1234")
    assert provenance.commit() == "abc1234"


def test_without_git_there_is_no_commit(checkout, monkeypatch):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert provenance.commit() == "unknown"
