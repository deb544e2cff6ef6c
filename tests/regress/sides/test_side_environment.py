from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.regress.sides.side import parse_side
from harness.regress.sides.side_environment import GRID_STEPS, Target, TargetContext, make_target
from harness.regress.sides.workspace import BuildError, Workspace, workspace
from harness.regress.timed_workload import ResolvedWorkload
from tests.regress.sided import git, repository, steps_file

BENCHMARK = {"name": "a", "task": "adding", "cell": "rnn"}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with a file of steps in a folder, and code below src."""
    folder = tmp_path / "repo"
    (folder / "bench").mkdir(parents=True)
    (folder / "src" / "mine").mkdir(parents=True)
    (folder / "src" / "mine" / "__init__.py").write_text("VERSION = 1\n")
    steps_file(folder / "bench" / "steps.py", old=1)
    return repository(folder)


@pytest.fixture
def space(repo: Path) -> Iterator[Workspace]:
    """A workspace."""
    with workspace(repo) as made:
        yield made


def target_of(
    space: Workspace, here: Path, text: str, workload: ResolvedWorkload, install: str = ""
) -> Target:
    """The target of a base side."""
    side = parse_side("--base", text, here)
    return make_target("base", side, TargetContext(space, workload, here, install))


def test_a_revision_brings_its_own_file_of_steps(space: Workspace, repo: Path) -> None:
    """The file at the same path of its tree, its code first on the path, and our folder."""
    steps_file(repo / "bench" / "steps.py", new=1)
    found = target_of(space, repo / "bench", "HEAD", ResolvedWorkload(steps=Path("steps.py")))
    top = space.folder / "base"
    assert found.steps == top / "bench" / "steps.py"
    assert "def old" in found.steps.read_text()
    assert found.paths == (str(top), str(top / "src"))
    assert found.folder == top / "bench"
    assert found.worker.command[0] == sys.executable
    head = target_of(space, repo / "bench", ".", ResolvedWorkload(steps=Path("steps.py")))
    assert "def new" in head.steps.read_text()
    assert head.paths == (str(repo), str(repo / "src"))


@pytest.mark.parametrize("outside", [True, False])
def test_a_file_that_a_revision_lacks_is_taken_as_it_is(
    space: Workspace, repo: Path, tmp_path: Path, outside: bool
) -> None:
    """A new file, or one outside of the repository."""
    path = steps_file((tmp_path if outside else repo) / "later.py", new=1)
    assert target_of(space, repo, "HEAD", ResolvedWorkload(steps=path)).steps == path


def test_the_worker_runs_from_a_folder_of_its_own(space: Workspace, repo: Path) -> None:
    """Nothing lies beside it that an import could find."""
    found = target_of(space, repo, ".", ResolvedWorkload(steps=Path("bench/steps.py")))
    assert [path.name for path in Path(found.worker.command[1]).parent.iterdir()] == [
        "side_worker.py"
    ]


def test_a_grid_needs_a_tree_with_the_harness(space: Workspace, repo: Path) -> None:
    """Elsewhere a copy of this one is used, alone in its folder.

    A revision without it is refused.
    """
    found = target_of(space, repo, ".", ResolvedWorkload(benchmarks=(BENCHMARK,)))
    code = Path(found.paths[0])
    assert [path.name for path in code.iterdir()] == ["harness"]
    assert (code / "harness" / "timing" / "__init__.py").is_file()
    with pytest.raises(InputError, match=r"a revision of the harness.*--steps FILE"):
        target_of(space, repo, "HEAD", ResolvedWorkload(benchmarks=(BENCHMARK,)))


def test_a_plug_in_is_loaded_beside_those_that_are_named(space: Workspace, repo: Path) -> None:
    """The file beside the steps names both; without a grid a plug-in has no steps."""
    (repo / "cell.py").write_text("")
    task = ResolvedWorkload(benchmarks=(BENCHMARK,), plugins=("named.module",))
    steps = target_of(space, repo, "cell.py", task).steps
    assert steps.read_bytes() == GRID_STEPS.read_bytes()
    workload = json.loads(steps.with_suffix(".json").read_text())
    assert workload["plugins"] == ["named.module", str(repo / "cell.py")]
    with pytest.raises(InputError, match=r"--base: expected a side with steps.*--suite GRID"):
        target_of(space, repo, "cell.py", ResolvedWorkload(steps=Path("bench/steps.py")))


def test_an_install_has_an_environment_of_its_own(
    space: Workspace, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command's python and folder are the side's.

    What it installs is imported, and no path of ours goes before it.
    """
    code = "import pathlib, sysconfig; source = pathlib.Path('src/mine/__init__.py').read_text(); "
    code += "pathlib.Path(sysconfig.get_path('purelib'), 'mine.py').write_text(source)"
    (repo / "install.py").write_text(code)
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "second")
    (repo / "src" / "mine" / "__init__.py").write_text("VERSION = 2\n")
    monkeypatch.setenv("PYTHONPATH", str(repo / "src"))
    found = target_of(
        space, repo, "HEAD", ResolvedWorkload(steps=Path("bench/steps.py")), "python install.py"
    )
    assert found.paths == ()
    command = [found.worker.command[0], "-c", "import mine; print(mine.VERSION)"]
    done = subprocess.run(
        command,
        env=dict(found.worker.environment),  # type: ignore[arg-type]
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1\n"
    failing = "python -c \"print(1); raise SystemExit('no way')\""
    monkeypatch.setattr(Workspace, "environment", lambda *_: Path(found.worker.command[0]))
    with pytest.raises(BuildError, match="got no way") as caught:
        target_of(space, repo, ".", ResolvedWorkload(steps=Path("bench/steps.py")), failing)
    assert "1\n" in caught.value.output


def wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    """A wheel of a few files."""
    info = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: a\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    records = []
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
            records.append(f"{path},sha256={digest.rstrip(b'=').decode()},{len(text)}")
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "\n".join([*records, f"{info}/RECORD,,"]))


def test_a_requirement_is_installed_into_an_environment(
    space: Workspace, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of its version, apart from our packages; what pip can't find is one line."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for version in ("1.0", "2.0"):
        wheel(wheels, "tiny_thing", version, {"tiny_thing.py": f"VERSION = {version!r}\n"})
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    found = target_of(
        space, repo, "tiny_thing==1.0", ResolvedWorkload(steps=Path("bench/steps.py"))
    )
    code = "import tiny_thing, importlib.util as u; print(tiny_thing.VERSION, u.find_spec('torch'))"
    done = subprocess.run(
        [found.worker.command[0], "-c", code],
        env=dict(found.worker.environment),  # type: ignore[arg-type]
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1.0 None\n"
    monkeypatch.setattr(Workspace, "environment", lambda *_: Path(found.worker.command[0]))
    with pytest.raises(BuildError, match=r"base: .*pip install.*tiny_thing==3.0"):
        target_of(space, repo, "tiny_thing==3.0", ResolvedWorkload(steps=Path("bench/steps.py")))


def test_an_environment_is_not_given_our_packages(
    space: Workspace, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PYTHONPATH is for this Python."""
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    found = target_of(space, repo, sys.executable, ResolvedWorkload(steps=Path("bench/steps.py")))
    assert found.worker.command[0] == sys.executable
    assert "PYTHONPATH" not in found.worker.environment  # type: ignore[operator]
    assert found.steps == repo / "bench" / "steps.py"
