from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.regress.sides.side import Side, parse_side, requirements
from tests.regress.sided import git, repository


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a branch, a tag, a plug-in, an environment, and a name for two things."""
    folder = tmp_path_factory.mktemp("sides")
    (folder / "cell.py").write_text("")
    for name in (".venv", "both"):
        (folder / name / "bin").mkdir(parents=True)
        (folder / name / "bin" / "python").symlink_to(sys.executable)
    repository(folder)
    git(folder, "branch", "feature/x")
    git(folder, "branch", "both")
    git(folder, "tag", "v1.2")
    return folder


@pytest.mark.parametrize(
    ("text", "kind", "label", "slug"),
    [
        (".", "worktree", "working tree", "worktree"),
        ("feature/x", "revision", "feature/x", "feature-x"),
        ("HEAD~0", "revision", "HEAD~0", "HEAD-0"),
        ("git:both", "revision", "both", "both"),
        (".venv", "environment", ".venv", "venv"),
        ("python:both", "environment", "both", "both"),
        (sys.executable, "environment", sys.executable, None),
        ("cell.py", "plugin", "cell.py", "cell.py"),
        ("torch==2.12.1", "requirement", "torch==2.12.1", "torch==2.12.1"),
        ("torch>=2,<3", "requirement", "torch>=2,<3", "torch-=2-3"),
        ("torch[opt] ~= 2.0", "requirement", "torch[opt] ~= 2.0", "torch-opt-=-2.0"),
        ("a @ https://example.org/a.zip", "requirement", None, None),
        ("torch==2.12.1 numpy==2.1", "requirement", None, None),
        ("dist/mine-1.0-py3-none-any.whl", "requirement", None, None),
        ("pip:mine", "requirement", "mine", "mine"),
    ],
)
def test_a_text_is_read_as_what_it_is(
    here: Path, text: str, kind: str, label: str | None, slug: str | None
) -> None:
    """One order, prefixes first."""
    side = parse_side("--base", text, here)
    assert side.kind == kind
    if label is not None:
        assert side.label.startswith(label)
    if slug is not None:
        assert side.slug == slug


def test_a_revision_is_its_commit(here: Path) -> None:
    """A tag and the commit's own number are one; the label says both where the name says less."""
    commit = git(here, "rev-parse", "HEAD")
    assert parse_side("--base", "v1.2", here).value == commit
    assert parse_side("--base", "v1.2", here).label == f"v1.2 ({commit[:9]})"
    assert parse_side("--base", commit, here).label == commit[:9]


def test_an_environment_is_known_by_its_link(here: Path) -> None:
    """The link is not followed: the Python that it leads to has other packages."""
    assert parse_side("--base", ".venv", here).value == str(here / ".venv" / "bin" / "python")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("featur/x", "--head: expected a git revision, a Python.*did you mean 'feature/x'"),
        ("both", "one side, got both, two; write git:both or python:both"),
        ("none.py", "a plug-in's file, got none.py: no such file"),
        ("python:none", "a Python or its environment, got 'none'"),
        ("git:none", "a git revision, got 'none'"),
        ("git:--output=x", "a git revision"),
        ("-x", "--head: expected a git revision"),
        ("", "--head: expected a git revision"),
        ("pip:", "--head: expected a git revision"),
        ("cell.txt", "--head: expected a git revision"),
    ],
)
def test_what_there_is_not_is_one_line(here: Path, text: str, match: str) -> None:
    """With what may have been meant."""
    with pytest.raises(InputError, match=match):
        parse_side("--head", text, here)


def test_outside_of_a_repository_a_revision_is_refused(tmp_path: Path) -> None:
    """And it says why."""
    with pytest.raises(InputError, match="no git repository is here"):
        parse_side("--base", "main", tmp_path)


def test_a_shallow_clone_says_how_to_fetch(here: Path, tmp_path: Path) -> None:
    """What a CI's checkout lacks."""
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{here}", "clone")
    with pytest.raises(InputError, match="this clone is shallow: git fetch origin old"):
        parse_side("--base", "old", tmp_path / "clone")


def test_requirements_are_set_apart_by_spaces_around_no_sign() -> None:
    """One requirement may hold spaces itself."""
    assert requirements("torch == 2.1") == ["torch == 2.1"]
    assert requirements("torch==2.1 numpy>=2 x.whl") == ["torch==2.1", "numpy>=2", "x.whl"]
    assert Side("requirement", "a==1 b==2", "a==1 b==2").slug == "a==1-b==2"
