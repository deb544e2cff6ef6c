"""Every option of every command, with values that make no sense: one line, exit code 2, no file.

The options come from the commands themselves, so a new one needs a row here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
import typer
from typer.testing import CliRunner

from harness.__main__ import PROGRAMS
from harness.__main__ import main as list_commands
from harness.bench import __main__ as bench
from harness.bench import run as bench_run
from harness.regress import __main__ as regress
from harness.regress.compare import run as compare_run
from harness.regress.record import run as record_run
from harness.regress.selftest import run as selftest_run
from harness.report import __main__ as report
from harness.study import __main__ as study
from harness.study import run as study_run
from harness.study.execution import prewarmed_server
from tests.simulated_history import entries, write
from tests.small import write_small
from tests.tally import Tally

LONG, LONG_NAME = "n" * 400, "n" * 300
TEXT: tuple[str, ...] = ("", "  ", "a\0b")  # what no option takes
PATH: tuple[str, ...] = (*TEXT, LONG_NAME, f"new/{LONG_NAME}", f"{LONG_NAME}/x")
FOLDER: tuple[str, ...] = (*PATH, "a_file", "a_file/inside")
FILE: tuple[str, ...] = (*PATH, "a_folder", "a_file/inside")
TOML: tuple[str, ...] = (
    *TEXT,
    LONG,
    f"{LONG_NAME}.toml",
    f"new/{LONG_NAME}/x.toml",
    "none.toml",
    "a_folder.toml",
)
TOML += ("a_file", "a_folder", "none", "../../etc/passwd", "a_file/inside.toml")
COUNT: tuple[str, ...] = (*TEXT, "x", "-1", "1.5", "nan", "inf", "1e3", str(10**30), "9" * 5_000)
SECONDS: tuple[str, ...] = (*TEXT, "x", "-1", "nan", "inf", "-inf", "1e400", LONG)
SEED: tuple[str, ...] = (*TEXT, "x", "-1", "1.5", "nan", str(2**63), "9" * 5_000)
DEVICE: tuple[str, ...] = (
    *TEXT,
    LONG,
    "tpu",
    "cuda:99",
    "cuda:-1",
    "cuda:x",
    "cuda:" + "9" * 400,
    "CPU",
)
SETTING: tuple[str, ...] = (
    *TEXT,
    "x",
    "=1",
    "study.name",
    f"{LONG}=1",
    "study.nmae='x'",
    "study='x'",
    "a.b.c=1",
)
SETTING += ("study.name=''", f"study.name='{LONG}'", "study.name='a/b'", "study.name='a\\u0000'")
SETTING += ("search.trials=1e400", "search.trials=nan", "study.seed=-1", f"search.trials={10**30}")
GRID_SETTING: tuple[str, ...] = (
    *TEXT,
    "x",
    "=1",
    f"{LONG}=1",
    "grid.nmae='x'",
    f"grid.name='{LONG}'",
    "grid.seed=nan",
)
PLUGIN: tuple[str, ...] = (
    *TEXT,
    LONG,
    f"{LONG_NAME}.py",
    "none",
    "none.py",
    "a_folder",
    "a_folder.py",
    "a_file",
)
PLUGIN += ("./a_folder", "a_folder/", ".", "..", ".json", "a_file.toml")
FLAG: tuple[str, ...] = ("x",)  # as --flag=x
WORD: tuple[str, ...] = (*TEXT, LONG, "x")
SIDE: tuple[str, ...] = (
    *TEXT,
    LONG,
    LONG_NAME + "/x",
    "none",
    "none.py",
    "a_folder",
    "a_folder.py",
    "git:none",
    "git:",
)
SIDE += ("python:none", "python:a_file", f"python:{LONG_NAME}", "pip:", "plugin:a_folder", "-x")
SIDE += (f"plugin:{LONG_NAME}.py", "plugin:", f"git:{LONG}", "--upload-pack=x")
STEPS: tuple[str, ...] = (
    *TEXT,
    LONG,
    f"new/{LONG_NAME}.py",
    "none.py",
    "a_folder",
    "a_file/inside.py",
)
DETECT: tuple[str, ...] = (*TEXT, LONG, "0", "-5%", "nan", "inf", "101%", "x", "1e400", "%")
STORAGE: tuple[str, ...] = (
    *TEXT,
    LONG,
    "a_file",
    "sqlite:///a_file",
    "sqlite:///a_folder",
    "nonsense://x/y",
    "://",
)
STORAGE += ("sqlite:///new/x.db", f"sqlite:///{LONG_NAME}", f"sqlite:///new/{LONG_NAME}.db")
STORAGE += ("sqlite:////{tmp}/new/x.db", "sqlite:///a_file/x.db", "postgresql://u:p@h:port/d")
STORAGE += ("oracle+cx_oracle://u:p@h/d",)

ROWS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "study": {
        "name": TOML,
        "trials": (*COUNT, "0"),
        "workers": (*COUNT, "0"),
        "seed": SEED,
        "device": DEVICE,
        "results": FOLDER,
        "storage": STORAGE,
        "executor": WORD,
        "ray_address": WORD,
        "timeout": SECONDS,
        "settings": SETTING,
        "plugins": PLUGIN,
        **dict.fromkeys(("deterministic", "fresh", "dry_run", "list_all"), FLAG),
    },
    "bench": {
        "name": TOML,
        "devices": DEVICE,
        "mode": WORD,
        "settings": GRID_SETTING,
        "variants": (*WORD, ",", "plain,", "threads=0", "threads=" + "9" * 5_000),
        "plugins": PLUGIN,
        "results": FOLDER,
        **dict.fromkeys(("as_json", "fresh", "dry_run", "list_all"), FLAG),
    },
    "report": {
        "directory": (*PATH, "a_file", "a_file/inside", "a_folder", "none", LONG),
        "language": (*WORD, "../en", "EN"),
        "index": FLAG,
    },
    "regress compare": {
        "base": SIDE,
        "head": SIDE,
        "suite": TOML,
        "steps": STEPS,
        "device": DEVICE,
        "detect": DETECT,
        "rounds": (*COUNT, "4"),
        "budget": (*SECONDS, "0"),
        "install": TEXT,
        "accept": TEXT,
        "fail_on": WORD,
        "plugins": PLUGIN,
        "results": FOLDER,
        "as_json": FLAG,
    },
    "regress selftest": {
        "suite": TOML,
        "steps": STEPS,
        "device": DEVICE,
        "detect": DETECT,
        "slow_down": (*DETECT, "5%=x", "5%=-1", "5%=" + "9" * 5_000, "5%=1000000"),
        "runs": (*COUNT, "0"),
        "slowed": COUNT,
        "replays": (*COUNT, "0"),
        "rounds": (*COUNT, "4"),
        "budget": (*SECONDS, "0"),
        "seed": SEED,
        "plugins": PLUGIN,
        "results": FOLDER,
        "as_json": FLAG,
    },
    "regress record": {
        "suite": TOML,
        "steps": STEPS,
        "history": FILE,
        "device": DEVICE,
        "plugins": PLUGIN,
        "blocks": (*COUNT, "0"),
        "revision": TEXT,
        "budget": (*SECONDS, "0"),
        "as_json": FLAG,
    },
    "regress trend": {
        "history": (*FILE, "none.jsonl"),
        "results": FOLDER,
        "fingerprint": WORD,
        "seed": SEED,
        "as_json": FLAG,
    },
}
"""For each option of each command, values that it refuses; "{tmp}" is the test's folder."""

BASES = {
    "study": ["small.toml"],
    "regress compare": ["--base", "."],
    "regress trend": ["--history", "history.jsonl"],
}
"""What else a command needs."""


def _commands() -> Iterator[tuple[str, Any]]:
    for name, module in (("study", study), ("bench", bench), ("report", report)):
        yield name, typer.main.get_command(module.app)
    group: Any = typer.main.get_command(regress.app)
    for name, command in group.commands.items():
        yield f"regress {name}", command


COMMANDS = dict(_commands())
"""Each command by its name, as typer makes it."""


def options(command: Any) -> dict[str, Any]:
    """The options and arguments of a command by name, but for --help."""
    return {param.name: param for param in command.params if param.name != "help"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a study, a history, a file and folders; nothing is ever timed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as `python -m` does: a folder there is importable
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    write_small(tmp_path)
    write(tmp_path / "history.jsonl", entries(1, ("lstm",)))
    (tmp_path / "a_file").write_text("no study, no grid and no database\n", encoding="utf-8")
    for name in ("a_folder", "a_folder.toml", "a_folder.py"):
        (tmp_path / name).mkdir()

    def accepted(*_: object, **__: object) -> NoReturn:
        raise AssertionError("the value was accepted")

    for module in (compare_run, selftest_run, record_run):
        monkeypatch.setattr(module, "make_target", accepted)
    monkeypatch.setattr(study_run, "_run_phases", accepted)
    monkeypatch.setattr(bench_run, "timing_engine", accepted)
    monkeypatch.setattr(prewarmed_server, "start_prewarmed_server", contextlib.nullcontext)
    return tmp_path


def invoke(name: str, arguments: list[str]) -> str:
    """Run a command; AssertionError unless it ends with 2 and one line on standard error."""
    first, *rest = name.split()
    app = {"study": study, "bench": bench, "regress": regress, "report": report}[first].app
    done = CliRunner().invoke(app, [*rest, *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise AssertionError(f"{name} {arguments}") from done.exception
    assert (done.exit_code, done.stdout) == (2, ""), arguments
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.isprintable()
    assert len(line) < 3_000
    return line


def typed(name: str, option: str, value: str) -> list[str]:
    """The words of a command with that value of an option, and with what else it needs."""
    written = options(COMMANDS[name])[option].opts[0]
    if not written.startswith("-"):
        return ["--", value]
    kept = [] if written in BASES.get(name, []) else BASES.get(name, [])
    return [*kept, f"{written}={value}"]


def test_every_option_has_a_row() -> None:
    """Every option and argument of every command has a row of bad values, and no other has one."""
    found = {name: set(options(command)) for name, command in COMMANDS.items()}
    assert found == {name: set(rows) for name, rows in ROWS.items()}


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name, rows in ROWS.items() for option in rows]
)
def test_a_bad_value_is_one_line(folder: Path, name: str, option: str, tally: Tally) -> None:
    """A bad value of any option ends with 2 and one line, and no file or folder is made."""
    before = sorted(folder.rglob("*"))
    fault = "a value that an option cannot take"
    with tally.each(fault, "one line, exit code 2, and no file is made") as count:
        for value in ROWS[name][option]:
            arguments = typed(name, option, value.replace("{tmp}", str(folder).lstrip("/")))
            with count.one():
                invoke(name, arguments)
                assert sorted(folder.rglob("*")) == before, arguments


@pytest.mark.parametrize(
    ("name", "arguments", "match"),
    [
        ("bench", ["--mode", "inference", "--variants", "tuned"], "--variants: expected no varian"),
        (
            "regress compare",
            ["--base", ".", "--steps", "s.py", "--device", "cpu"],
            "--device: expec",
        ),
        ("study", ["small.toml", "another"], "another"),
        ("regress comapre", [], "got 'comapre'; did you mean 'compare'?"),
        ("regress --bogus", [], "No such option: --bogus"),
    ],
)
def test_what_contradicts_itself_is_one_line(
    folder: Path, name: str, arguments: list[str], match: str
) -> None:
    """Options that exclude each other, and words that are none, end with 2 and one line."""
    assert match in invoke(name, arguments)


def test_the_list_of_commands_takes_no_words(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m harness WORD` is one line with the nearest program; alone it lists them all."""
    assert list_commands(["stduy"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert "did you mean 'study'?" in line
    for bad in ("", "x" * 400, "a\0b", "\x1b[31m"):
        assert list_commands([bad]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert list_commands([]) == 0
    listed = capsys.readouterr().out
    assert all(f"python -m harness.{name}" in listed for name in PROGRAMS)
