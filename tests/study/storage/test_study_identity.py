"""harness.study.storage.study_identity."""

from __future__ import annotations

import importlib.metadata
import json

import optuna
import pytest

from harness.errors import IdentityError, StorageError
from harness.study.storage import study_identity
from harness.study.storage.open_storage import open_storage
from harness.study.storage.study_identity import open_study
from tests.tally import Tally

REFUSED = "one line, exit code 2, and the file as it was"


def test_same_identity(url: str) -> None:
    """A study whose identity is the same is opened again: the same id, the same trials."""
    identity = {"device": "cpu", "training.batch_size": 32, "space.x": ("a", "b")}
    with open_storage(url, "s") as storage:
        first = open_study(storage, "s/a/b/r0", "minimize", identity, where="s.toml")
        assert open_study(storage, "s/a/b/r0", "minimize", identity, where="s.toml") == first


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"device": "cuda", "x": 1}, "device"),
        ({"device": "cpu", "x": 2}, "x"),
        ({"device": "cpu"}, "x"),
        ({"device": "cpu", "x": 1, "plugin.mine": "abc"}, r"plugin\.mine"),
        ({"device": "cpu", "x": 1, "plugin.mine": []}, r"plugin\.mine"),
    ],
)
def test_other_identity(url: str, changed: dict[str, object], key: str) -> None:
    """A study that differs is refused with the key, both values and the remedy."""
    with open_storage(url, "s") as storage:
        open_study(storage, "s/a/b/r0", "minimize", {"device": "cpu", "x": 1}, where="s.toml")
        with pytest.raises(IdentityError, match=rf"s\.toml: {key}: expected .* got .*--fresh"):
            open_study(storage, "s/a/b/r0", "minimize", changed, where="s.toml")


def test_a_range_of_whole_numbers_is_not_one_of_floats(url: str) -> None:
    """A hyperparameter in [space] that turns from whole numbers to floats is refused by name."""
    space, named = {"low": 1, "high": 3}, "space.mine.zoneout"
    with open_storage(url, "s") as storage:
        open_study(storage, "s/a/b/r0", "minimize", {named: space}, where="s.toml")
        for other in ({"low": 1.0, "high": 3.0}, [1.0, 3.0], 1.0):
            with pytest.raises(IdentityError, match=r"s\.toml: space\.mine\.zoneout: .*--fresh"):
                open_study(storage, "s/a/b/r0", "minimize", {named: other}, where="s.toml")


def test_a_fixed_number_may_be_written_either_way(url: str) -> None:
    """training.max_grad_norm = 1 and 1.0 train alike: such a study is resumed."""
    with open_storage(url, "s") as storage:
        first = {"training.max_grad_norm": 1}
        study_id = open_study(storage, "s/a/b/r0", "minimize", first, where="s.toml")
        again = {"training.max_grad_norm": 1.0}
        assert open_study(storage, "s/a/b/r0", "minimize", again, where="s.toml") == study_id


SOURCE = {"bytes": "b1", "code": "c1", "python": "3.12"}
IDENTITY = {
    "numerics": 1,
    "processor": "x86_64 GenuineIntel 6",
    "cpu_capability": "AVX512",
    "plugin.mine.py": [SOURCE],
    "module.helper": [SOURCE],
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"numerics": 2}, "numerics: expected 1 as in the stored study, got 2"),
        ({"processor": "x86_64 AuthenticAMD 25"}, "processor: expected 'x86_64 Gen.*got 'x86_64 A"),
        ({"cpu_capability": "DEFAULT"}, "cpu_capability: expected 'AVX512' as .*got 'DEFAULT'"),
        (
            {"module.helper": [{**SOURCE, "bytes": "b2", "code": "c2"}]},
            "module.helper: expected source b1 as in the stored study, got source b2",
        ),
        ({"module.more": [SOURCE]}, "module.more: expected none as .*got source b1"),
        (
            {"plugin.mine.py": [{**SOURCE, "bytes": "b2", "python": "3.13"}]},
            "plugin.mine.py: expected source b1 as .*got source b2",
        ),
    ],
)
def test_what_would_change_numbers(url: str, changed: dict[str, object], message: str) -> None:
    """Other numerics, processor or source, also of an imported module, is refused by name."""
    with open_storage(url, "s") as storage:
        open_study(storage, "s/a/b/r0", "minimize", IDENTITY, where="s.toml")
        with pytest.raises(IdentityError, match=rf"s\.toml: {message}.*--fresh"):
            open_study(storage, "s/a/b/r0", "minimize", {**IDENTITY, **changed}, where="s.toml")


def test_other_comments(url: str) -> None:
    """A plug-in whose comments changed goes on, and its new bytes are stored."""
    commented = {**IDENTITY, "plugin.mine.py": [{**SOURCE, "bytes": "b2"}]}
    with open_storage(url, "s") as storage:
        study_id = open_study(storage, "s/a/b/r0", "minimize", IDENTITY, where="s.toml")
        assert open_study(storage, "s/a/b/r0", "minimize", commented, where="s.toml") == study_id
        stored = storage.get_study_user_attrs(study_id)[study_identity.IDENTITY]
        assert json.loads(stored)["keys"] == commented


def test_study_of_an_older_version(url: str) -> None:
    """A study that was begun before there were numerics is refused: its numbers are others."""
    older = {"x": 1, "cpu_capability": "AVX2"}
    with open_storage(url, "s") as storage:
        open_study(storage, "s/a/b/r0", "minimize", older, where="s.toml")
        now = {**IDENTITY, "x": 1}
        with pytest.raises(IdentityError, match=r"numerics: expected None as .*got 1; .*--fresh"):
            open_study(storage, "s/a/b/r0", "minimize", now, where="s.toml")


def test_other_kernels_name_the_remedy(url: str) -> None:
    """Another instruction set of the kernels is refused, with the variable that chooses it."""
    for stored, remedy in (("avx2", "HARNESS_NATIVE=avx2"), ("", "HARNESS_NATIVE=0")):
        with open_storage(url, f"s{stored}") as storage:
            before, now = ({study_identity.NATIVE: each} for each in (stored, "avx512"))
            open_study(storage, f"s{stored}/a/b/r0", "minimize", before, where="s.toml")
            with pytest.raises(IdentityError, match=rf"native_kernels: .*'avx512'; set {remedy}"):
                open_study(storage, f"s{stored}/a/b/r0", "minimize", now, where="s.toml")


def test_study_of_another_program(url: str) -> None:
    """An Optuna study of that name with trials that the harness did not make is refused."""
    with open_storage(url, "s") as storage:
        other = optuna.create_study(storage=storage, study_name="s/a/b/r0")
        other.add_trial(optuna.create_trial(value=1.0))
        with pytest.raises(StorageError, match="another program"):
            open_study(storage, "s/a/b/r0", "minimize", {}, where="s.toml")


def test_study_that_was_cut_short(url: str) -> None:
    """A study whose maker was killed before it wrote the identity is taken over."""
    with open_storage(url, "s") as storage:
        optuna.create_study(storage=storage, study_name="s/a/b/r0")
        study_id = open_study(storage, "s/a/b/r0", "minimize", {"x": 1}, where="s.toml")
        stored = storage.get_study_user_attrs(study_id)[study_identity.IDENTITY]
        assert json.loads(stored) == {
            "schema": study_identity.IDENTITY_SCHEMA,
            "keys": {"x": 1},
            "startup_trials": 4,
        }


def test_newer_schema(url: str, tally: Tally) -> None:
    """A study of a later version of the harness is refused, and says to upgrade."""
    with open_storage(url, "s") as storage:
        study_id = open_study(storage, "s/a/b/r0", "minimize", {}, where="s.toml")
        later = json.dumps({"schema": study_identity.IDENTITY_SCHEMA + 1, "keys": {}})
        storage.set_study_user_attr(study_id, study_identity.IDENTITY, later)
        with pytest.raises(StorageError, match="upgrade") as refused:
            open_study(storage, "s/a/b/r0", "minimize", {}, where="s.toml")
        lost = int(storage.get_study_user_attrs(study_id)[study_identity.IDENTITY] != later)
    tally.add("a study of a later version of the harness", REFUSED, lost=lost)
    assert (lost, refused.value.exit_code) == (0, 2)


def test_identity_that_cannot_be_read(url: str) -> None:
    """A study whose identity is damaged is refused by name."""
    with open_storage(url, "s") as storage:
        study_id = open_study(storage, "s/a/b/r0", "minimize", {}, where="s.toml")
        for damaged in ("{", "[]", '{"schema": 1, "keys": 3}', "null"):
            storage.set_study_user_attr(study_id, study_identity.IDENTITY, damaged)
            with pytest.raises(StorageError, match=r"s/a/b/r0: its identity cannot be read"):
                open_study(storage, "s/a/b/r0", "minimize", {}, where="s.toml")


def test_other_versions(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of torch than the study began with is a warning, each time.

    The same version is none.
    """
    with open_storage(url, "s") as storage:
        study_id = open_study(storage, "s/a/b/r0", "minimize", {}, where="s.toml")
        assert study_identity.remember_versions(storage, [study_id]) == ()
        assert study_identity.remember_versions(storage, [study_id]) == ()
        real = importlib.metadata.version
        monkeypatch.setattr(
            importlib.metadata, "version", lambda name: "9.9" if name == "torch" else real(name)
        )
        for _ in range(2):
            (warning,) = study_identity.remember_versions(storage, [study_id, study_id])
            assert warning.startswith(f"torch 9.9 instead of the {real('torch')}")


@pytest.mark.parametrize("name", ["harness", "torch", "optuna", "numpy"])
def test_versions_that_are_compared(url: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of each is one warning; a version that was not stored is stored, silently."""
    with open_storage(url, "s") as storage:
        study_id = open_study(storage, "s/a/b/r0", "minimize", {}, where="s.toml")
        stored = {"torch": importlib.metadata.version("torch")}
        storage.set_study_user_attr(study_id, study_identity.VERSIONS, stored)
        assert study_identity.remember_versions(storage, [study_id]) == ()
        real = importlib.metadata.version
        monkeypatch.setattr(
            importlib.metadata, "version", lambda each: "9.9" if each == name else real(each)
        )
        if name == "harness":
            monkeypatch.setattr("harness.__version__", "9.9")
        (warning,) = study_identity.remember_versions(storage, [study_id])
        assert warning.startswith(f"{name} 9.9 instead of")


def test_move_aside(url: str) -> None:
    """A study's Optuna studies are renamed, each time to a new name.

    Those of others and all trials stay.
    """
    with open_storage(url, "s") as storage:
        for _ in range(2):
            study_id = open_study(storage, "s/a/b/r0", "minimize", {}, where="s.toml")
            storage.create_new_trial(study_id)
            open_study(storage, "s2/a/b/r0", "minimize", {}, where="s.toml")
            study_identity.move_aside(storage, "s")
        names = {study.study_name: study._study_id for study in storage.get_all_studies()}
        assert set(names) == {"s.old-1/a/b/r0", "s.old-2/a/b/r0", "s2/a/b/r0"}
        assert len(storage.get_all_trials(names["s.old-1/a/b/r0"])) == 1
