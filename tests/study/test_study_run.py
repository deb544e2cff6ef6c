"""The phases of a study, what each leaves, and what is kept when it is run again."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
import tomllib
from pathlib import Path
from typing import Any, cast
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
import torch

from harness.errors import IdentityError, InputError, StorageError
from harness.records.file_lock import hold_file
from harness.study.coordinator import TrialProgress
from harness.study.execution.local_executor import LocalExecutor
from harness.study.run import _identity, capture_notes
from harness.study.search.trial_config import training_config
from harness.study.storage.open_storage import default_url, open_storage
from harness.training.model import build_model
from harness.training.training_loop import Training, TrainingConfig
from tests.small import (
    FAULTY,
    RecordingObserver,
    forget_sources,
    run_small,
    small_spec,
    table,
    tables,
)
from tests.tally import Tally

PAIRS = ('compare.cells=["rnn","gru"]', "search.trials=4", "confirm.seeds=1")


def machine_facts(results: Path) -> dict[str, object]:
    """machine.json."""
    return dict(json.loads((results / "machine.json").read_text()))


def test_phases_and_files(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """A study searches, confirms, keeps the winners and reports; each phase leaves its files."""
    observer = RecordingObserver()
    outcome = run_small(tmp_path, *PAIRS, observer=observer, executor=executor)
    assert observer.phases == ["search", "confirm", "keep", "report"]
    assert outcome.directory == tmp_path / "results" / "small"
    files = {
        str(path.relative_to(outcome.directory))
        for path in outcome.directory.rglob("*")
        if path.is_file()
    }
    assert files >= {
        *(
            "trials.csv",
            "confirmation.csv",
            "evaluations.csv",
            "spec.toml",
            "machine.json",
            "study.db",
        ),
        *("diagnostics.json", "winners/temporal_order-rnn.toml", "winners/temporal_order-rnn.pt"),
    }
    assert not [name for name in files if name.endswith((".tmp", ".owner", "-wal"))]


def test_run_again_does_nothing_again(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """A finished study that is run again trains nothing and writes the same files."""
    outcome = run_small(tmp_path, *PAIRS, executor=executor)
    weights = outcome.directory / "winners" / "temporal_order-gru.pt"
    before, made = tables(outcome.directory), weights.stat().st_mtime_ns
    observer = RecordingObserver()
    run_small(tmp_path, *PAIRS, observer=observer, executor=executor)
    assert observer.progresses == []
    assert observer.phases == ["search", "confirm", "report"]
    assert tables(outcome.directory) == before
    assert weights.stat().st_mtime_ns == made


def test_kept_weights_are_the_winner(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """The kept weights have the very loss that the search wrote down for the winner."""
    outcome = run_small(tmp_path, "search.trials=3", executor=executor)
    facts = tomllib.loads((outcome.directory / "winners" / "temporal_order-rnn.toml").read_text())
    (row,) = [
        row
        for row in table(outcome.directory / "trials.csv")
        if int(row["number"]) == facts["number"]
    ]
    spec = small_spec(tmp_path, "search.trials=3")
    config = training_config(spec, "temporal_order", "rnn", facts["parameters"])
    config = TrainingConfig(**{**vars(config), "seed": facts["seed"]})
    training = Training(config)
    training.model.load_state_dict(
        torch.load(outcome.directory / "winners" / "temporal_order-rnn.pt", weights_only=True)
    )
    loss, _ = training._score("evaluation", 32, config.model.sequence_length)
    assert loss == float(row["loss"])
    first = torch.load(
        outcome.directory / "winners" / "temporal_order-rnn.initial.pt", weights_only=True
    )
    for name, weight in build_model(config.model, config.seed).state_dict().items():
        assert torch.equal(first[name], weight)


def test_more_trials(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """More trials go on where the study was; fewer than there are stored are refused."""
    settings = ('search.sampler="random"',)
    fewer = tables(run_small(tmp_path, *settings, "search.trials=2", executor=executor).directory)
    observer = RecordingObserver()
    more = run_small(tmp_path, *settings, "search.trials=4", observer=observer, executor=executor)
    assert len(observer.ends()) == 2
    assert tables(more.directory)["trials.csv"][:2] == fewer["trials.csv"]
    with pytest.raises(IdentityError, match=r"search\.trials"):
        run_small(tmp_path, *settings, "search.trials=3", executor=executor)


def test_time_is_up(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """After the timeout all searches are compared at their smallest common number of trials.

    A resume goes on.
    """

    class Slow(RecordingObserver):
        def progress(self, progress: TrialProgress) -> None:
            super().progress(progress)
            time.sleep(0.02)

    observer = Slow()
    settings = (PAIRS[0], "search.trials=40", "confirm.seeds=1")
    outcome = run_small(
        tmp_path, *settings, observer=observer, executor=executor, timeout_s=2.0, workers=2
    )
    rows = table(outcome.directory / "trials.csv")
    counts = [len([row for row in rows if row["cell"] == cell]) for cell in ("rnn", "gru")]
    assert 1 <= min(counts) <= max(counts) <= min(counts) + 1 < 40
    assert machine_facts(outcome.directory)["common_trials"] == min(counts)
    assert [note for note in observer.notes if f"first {min(counts)} trials" in note]
    numbers = [int(row["number"]) for row in table(outcome.directory / "confirmation.csv")]
    assert max(numbers) < min(counts)
    assert len(numbers) == 4  # both cells are confirmed as usual


def test_no_time(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """Without any time nothing is trained, no cell has a result, and the files are written."""
    outcome = run_small(tmp_path, *PAIRS, executor=executor, timeout_s=0.0)
    assert outcome.without_result == (("temporal_order", "rnn"), ("temporal_order", "gru"))
    assert table(outcome.directory / "trials.csv") == []


def test_fresh(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """Starting over moves old results aside, each time to a new name, and trains all anew."""
    (tmp_path / "results" / "small").mkdir(parents=True)
    for number in (1, 2):
        (tmp_path / "results" / "small" / "mine.txt").write_text(str(number))
        observer = RecordingObserver()
        outcome = run_small(tmp_path, observer=observer, executor=executor, fresh=True)
        assert len(observer.ends()) == 3
        aside = tmp_path / "results" / f"small.old-{number}"
        assert (aside / "mine.txt").read_text() == str(number)
        assert not (outcome.directory / "mine.txt").exists()


def test_fresh_with_a_damaged_storage(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """A damaged storage is refused; starting over moves it aside as it is."""
    results = tmp_path / "results" / "small"
    results.mkdir(parents=True)
    (results / "study.db").write_bytes(b"damaged" * 1000)
    with pytest.raises(StorageError, match=r"study\.db"):
        run_small(tmp_path, executor=executor)
    run_small(tmp_path, executor=executor, fresh=True)
    assert (tmp_path / "results" / "small.old-1" / "study.db").read_bytes() == b"damaged" * 1000


def test_fresh_while_another_is_at_work(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """Results that another coordinator is writing are not moved away from under it."""
    results = tmp_path / "results" / "small"
    results.mkdir(parents=True)
    with (
        open_storage(default_url(results), "small"),
        pytest.raises(StorageError, match="in use by"),
    ):
        run_small(tmp_path, executor=executor, fresh=True)
    assert results.is_dir()


def test_fresh_elsewhere_while_another_is_at_work(
    tmp_path: Path, executor: LocalExecutor | None, tally: Tally
) -> None:
    """Starting over in another storage does not move a running coordinator's folder away."""
    results = tmp_path / "results" / "small"
    results.mkdir(parents=True)
    fault = "`--fresh --storage URL` beside a coordinator that writes the same folder"
    with tally.each(fault, "refused; the folder stays") as count, count.one():
        with (
            open_storage(default_url(results), "small"),
            pytest.raises(StorageError, match="in use by"),
        ):
            run_small(tmp_path, executor=executor, fresh=True, storage=default_url(tmp_path))
        assert results.is_dir()


def test_fresh_with_the_url_of_the_folders_own_storage(
    tmp_path: Path, executor: LocalExecutor | None
) -> None:
    """The default storage, named by its URL, moves with its folder."""
    url = default_url(tmp_path / "results" / "small")
    for _ in range(2):
        run_small(tmp_path, executor=executor, fresh=True, storage=url)
    assert (tmp_path / "results" / "small.old-1" / "study.db").exists()


def test_results_that_cannot_be_written(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """A file where the results should go is named."""
    (tmp_path / "results").write_text("a file")
    with pytest.raises(InputError, match=r"--results: expected a folder .*results"):
        run_small(tmp_path, executor=executor)


@pytest.mark.parametrize("changed", ["device", "plugin"])
def test_another_device_or_plugin(
    tmp_path: Path, executor: LocalExecutor | None, changed: str
) -> None:
    """A study is not resumed on another device, nor with another source of a plug-in.

    The message names which.
    """
    plugin = tmp_path / "mine.py"
    plugin.write_text("x = 1\n")
    run_small(tmp_path, "search.trials=1", executor=executor, plugins=(FAULTY, str(plugin)))
    with pytest.MonkeyPatch.context() as patch:
        if changed == "plugin":
            plugin.write_text("x = 2\n")
            forget_sources()
        else:
            stored = "harness.study.run._identity"
            patch.setattr(
                stored, lambda spec, options: {**_identity(spec, options), "device": "cuda"}
            )
        with pytest.raises(
            IdentityError, match="device" if changed == "device" else r"plugin\.mine"
        ):
            run_small(tmp_path, "search.trials=1", executor=executor, plugins=(FAULTY, str(plugin)))


def test_a_plugin_that_is_edited_while_its_study_runs(
    tmp_path: Path, executor: LocalExecutor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next worker that loads a plug-in ends the study; undone, the study goes on to its end."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    plugin, helper = tmp_path / "mine.py", tmp_path / "its_helper.py"
    plugin.write_text(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport its_helper\n")
    helper.write_text("x = 1\n")

    class Editor(RecordingObserver):
        def progress(self, progress: TrialProgress) -> None:
            super().progress(progress)
            if progress.kind == "finished":
                helper.write_text("x = 2\n")

    options = {"executor": executor, "plugins": (FAULTY, str(plugin))}
    with pytest.raises(InputError, match=r"--plugin: module\.its_helper: expected the source"):
        run_small(tmp_path, observer=Editor(), **options)  # type: ignore[arg-type]
    helper.write_text("x = 1\n")
    observer = RecordingObserver()
    run_small(tmp_path, observer=observer, **options)  # type: ignore[arg-type]
    assert observer.ends() == ["complete"] * 2
    monkeypatch.delitem(sys.modules, "its_helper")


def test_each_run_of_the_command_is_recorded(
    tmp_path: Path, executor: LocalExecutor | None
) -> None:
    """machine.json keeps the options and the machine of every run, also of one that was stopped."""

    class Impatient(RecordingObserver):
        def progress(self, progress: TrialProgress) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_small(tmp_path, observer=Impatient(), executor=executor, workers=2, command="one")
    outcome = run_small(tmp_path, executor=executor, deterministic=True, command="two")
    runs = cast("list[dict[str, Any]]", machine_facts(outcome.directory)["runs"])
    kept = [(each["command"], each["workers"], each["deterministic"]) for each in runs]
    assert kept == [("one", 2, False), ("two", 1, True)]
    assert all({"cpu", "cpu_capability", "python", "versions"} <= {*each} for each in runs)
    assert [*{key for each in runs for key in each} & {"results", "storage", "host"}] == []


def test_a_study_from_before_there_were_records_of_runs(
    tmp_path: Path, executor: LocalExecutor | None
) -> None:
    """The facts of an older machine.json become the first run; a damaged one has none."""
    outcome = run_small(tmp_path, executor=executor, workers=2)
    path = outcome.directory / "machine.json"
    older = machine_facts(outcome.directory)
    del older["runs"]
    for text, workers in ((json.dumps(older), [2, 1]), ("{", [1])):
        path.write_text(text)
        run_small(tmp_path, executor=executor)
        runs = cast("list[dict[str, Any]]", machine_facts(outcome.directory)["runs"])
        assert [each["workers"] for each in runs] == workers


def test_another_version_of_torch(
    tmp_path: Path, executor: LocalExecutor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going on with another version of torch is allowed, told, and recorded in machine.json."""
    outcome = run_small(tmp_path, "search.trials=1", executor=executor)
    assert machine_facts(outcome.directory)["warnings"] == []
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "9.9" if name == "torch" else real(name)
    )
    observer = RecordingObserver()
    run_small(tmp_path, "search.trials=2", observer=observer, executor=executor)
    assert [note for note in observer.notes if note.startswith("torch 9.9 instead of")]
    assert machine_facts(outcome.directory)["warnings"] == observer.notes


def test_plain_optuna_reads_it(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """optuna.load_study shows parameters, values and curves, also while the study runs."""
    seen = []

    class Reader(RecordingObserver):
        def progress(self, progress: TrialProgress) -> None:
            super().progress(progress)
            if progress.kind == "finished":
                study = load(tmp_path / "results" / "small")
                seen.append([trial.state.name for trial in study.trials])

    outcome = run_small(tmp_path, observer=Reader(), executor=executor)
    assert [states.count("COMPLETE") for states in seen] == [1, 2, 3]
    for trial, row in zip(
        load(outcome.directory).trials, table(outcome.directory / "trials.csv"), strict=True
    ):
        for name in ("hidden_size", "num_layers", "learning_rate", "sequence_length"):
            assert trial.params[name] == float(row[name])
        assert trial.value == float(row["remembered_steps"])
        assert sorted(trial.intermediate_values) == [0, 32, 64]


def load(results: Path) -> optuna.Study:
    """The study by Optuna alone."""
    return optuna.load_study(
        study_name="small/temporal_order/rnn/r0",
        storage=optuna.storages.RDBStorage(default_url(results)),
    )


def test_dashboard_reads_it(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """optuna-dashboard shows the study and its trials while the harness holds the lock."""
    dashboard = pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed")
    outcome = run_small(tmp_path, executor=executor)
    url = default_url(outcome.directory)
    with hold_file(outcome.directory / "study.db"):
        storage = optuna.storages.RDBStorage(url)
        application = dashboard.wsgi(storage)
        (listed,) = get(application, "/api/studies")["study_summaries"]
        assert listed["study_name"] == "small/temporal_order/rnn/r0"
        trials = get(application, f"/api/studies/{listed['study_id']}")["trials"]
        storage.remove_session()
        storage.engine.dispose()
    rows = table(outcome.directory / "trials.csv")
    for trial, row in zip(trials, rows, strict=True):
        shown = {each["name"]: each["param_external_value"] for each in trial["params"]}
        assert float(shown["learning_rate"]) == float(row["learning_rate"])
        assert int(shown["hidden_size"]) == int(row["hidden_size"])
        assert trial["values"] == [float(row["remembered_steps"])]


def get(application: Any, path: str) -> Any:
    """The answer of a WSGI application to a request, from JSON."""
    environment: dict[str, Any] = {"PATH_INFO": path}
    setup_testing_defaults(environment)
    told: list[str] = []
    body = b"".join(
        application(environment, lambda status, headers, error=None: told.append(status))
    )
    assert told[0].startswith("200"), told
    return json.loads(body)


def test_repeats(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """Repeats are whole searches with other seeds, each with its own winner and confirmation."""
    outcome = run_small(
        tmp_path, "search.repeats=2", "search.trials=2", "confirm.seeds=1", executor=executor
    )
    rows = table(outcome.directory / "trials.csv")
    assert [(row["repeat"], row["number"]) for row in rows] == [
        *(("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")),
    ]
    assert len({row["seed"] for row in rows}) == 4
    confirmed = table(outcome.directory / "confirmation.csv")
    assert [row["repeat"] for row in confirmed] == ["0", "0", "1", "1"]


def test_tables_agree(tmp_path: Path, executor: LocalExecutor | None) -> None:
    """The last evaluation of a trial in evaluations.csv is its row in trials.csv."""
    outcome = run_small(tmp_path, *PAIRS, executor=executor)
    last = {
        (row["cell"], row["number"]): row
        for row in table(outcome.directory / "evaluations.csv")
        if row["phase"] == "search"
    }
    rows = table(outcome.directory / "trials.csv")
    for row in rows:
        evaluation = last[row["cell"], row["number"]]
        for name in ("loss", "skill", "accuracy", "sequences_seen", "seed", "sequence_length"):
            assert row[name] == evaluation[name]
        lag = int(row["sequence_length"]) - 1 - int(row["sequence_length"]) // 5
        assert int(row["lag"]) == lag
        remembered = lag * max(float(row["skill"]), 0.0) / 2
        assert float(row["remembered_steps"]) == pytest.approx(remembered)
        seconds, rate = float(row["train_time_s"]), float(row["sequences_per_second"])
        assert seconds * rate == pytest.approx(64)
    assert [row["cell"] for row in rows] == ["rnn"] * 4 + ["gru"] * 4


def test_the_notes_say_how_many_trials_were_captured() -> None:
    """Each reason has its count. On a CPU, where nothing can be captured, there is no note."""
    refused = "steps not captured: each step draws random numbers on the host"
    assert capture_notes(["captured", refused, "captured", ""]) == [
        "2 of 3 trials on CUDA ran as captured graphs.",
        f"1 of them: {refused}.",
    ]
    assert capture_notes(["", ""]) == []
