"""The identity of a study, stored with it: resuming another study is refused."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage

import harness
from harness.config import STARTUP_TRIALS
from harness.errors import IdentityError, Shown, StorageError
from harness.plugin_sources import same_sources
from harness.records.file_lock import whoami
from harness.study.storage.retrying_storage import first_line
from harness.study.storage.server_lock import OWNER

NUMERICS = 2
"""The numbers that a seed gives. A release that changes results raises it: it resumes no study of
an earlier one."""

NATIVE = "native_kernels"
"""The instruction set of the kernels that train on a CPU; empty for torch's modules and the loops
of fast_recurrence.py. Last digits differ between them. What the kernels compute changes only with
`NUMERICS`, so a hash of their sources is not part of the identity."""

FREE = frozenset({"search.trial_timeout_s"})
"""Keys that older versions stored with an identity, and that may change."""

IDENTITY_SCHEMA = 1
IDENTITY = "harness:identity"
VERSIONS = "harness:versions"
STARTUP = "startup_trials"


def open_study(
    storage: BaseStorage, name: str, direction: str, identity: Mapping[str, Any], *, where: str
) -> int:
    """Create the Optuna study, or open it after checking its identity. Returns its id.

    The identity of an older version gets the keys that it lacks.

    Raises IdentityError, naming the first key that differs, and StorageError for one that another
    program wrote.
    """
    try:
        study_id = storage.get_study_id_from_name(name)
    except KeyError:
        wanted = optuna.study.StudyDirection[direction.upper()]
        with contextlib.suppress(optuna.exceptions.DuplicatedStudyError):  # the connection was lost
            storage.create_new_study([wanted], name)
        study_id = storage.get_study_id_from_name(name)
        _write_identity(storage, study_id, identity)
        return study_id
    stored = storage.get_study_user_attrs(study_id).get(IDENTITY)
    if stored is None:
        if storage.get_all_trials(study_id, deepcopy=False):
            raise StorageError(f"{name}: this Optuna study was written by another program")
        _write_identity(storage, study_id, identity)
        return study_id
    try:
        record = json.loads(stored)
        schema, keys = record["schema"], dict(record.get("keys", {}))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StorageError(
            f"{name}: its identity cannot be read ({first_line(error)}); start over with --fresh"
        ) from error
    if schema != IDENTITY_SCHEMA:
        raise StorageError(
            f"{name}: schema {schema} of the storage, this version reads {IDENTITY_SCHEMA}; upgrade the harness"
        )
    wanted_keys = json.loads(json.dumps(dict(identity)))
    _check_same(keys, wanted_keys, where)
    if keys != wanted_keys:  # the same code with other comments, or a study of an older version
        known = json.dumps({**record, "keys": wanted_keys}, sort_keys=True)
        storage.set_study_user_attr(study_id, IDENTITY, known)
    storage.set_study_user_attr(study_id, OWNER, whoami())
    return study_id


def move_aside(storage: RDBStorage, name: str) -> None:
    """Rename the Optuna studies of a study to `<name>.old-N/...`: nothing is deleted."""
    names = [study.study_name for study in storage.get_all_studies()]
    number = 1
    while any(each.startswith(f"{name}.old-{number}/") for each in names):
        number += 1
    rename = sqlalchemy.text("UPDATE studies SET study_name = :new WHERE study_name = :old")
    with storage.engine.begin() as connection:
        for old in names:
            if old.startswith(f"{name}/"):
                new = f"{name}.old-{number}{old.removeprefix(name)}"
                connection.execute(rename, {"new": new, "old": old})


def remember_versions(storage: BaseStorage, study_ids: Sequence[int]) -> tuple[str, ...]:
    """Store the versions of harness, torch, optuna and numpy with new studies.

    Returns a warning for each version that differs from the one that a study began with.
    """
    present = {name: importlib.metadata.version(name) for name in ("torch", "optuna", "numpy")}
    present = {"harness": harness.__version__, **present}
    warnings: dict[str, None] = {}
    for study_id in study_ids:
        found = storage.get_study_user_attrs(study_id).get(VERSIONS)
        if found is not None and not isinstance(found, dict):
            raise StorageError(
                f"{VERSIONS}: expected an object, got {found!r:.200}: another program changed it; "
                "start over with --fresh"
            )
        stored = found or {}
        if missing := {*present} - {*stored}:
            known = {**{name: present[name] for name in missing}, **stored}
            storage.set_study_user_attr(study_id, VERSIONS, known)
        for name, version in present.items():
            if stored.get(name, version) != version:
                warnings[
                    f"{name} {version} instead of the {stored[name]} that this study began with: "
                    "old and new trials may differ in their last digits"
                ] = None
    return tuple(warnings)


def startup_trials_of(storage: BaseStorage, study_id: int, old: int) -> int:
    """The number of start-up trials that an Optuna study was created with.

    Older versions did not store it: then it is `old`, which is stored now.
    """
    record = json.loads(storage.get_study_user_attrs(study_id)[IDENTITY])
    if STARTUP not in record:
        record[STARTUP] = old
        storage.set_study_user_attr(study_id, IDENTITY, json.dumps(record, sort_keys=True))
    stored = record[STARTUP]
    if not isinstance(stored, int) or stored < 1:
        raise StorageError(
            f"{IDENTITY}: {STARTUP}: expected a whole number of at least 1, got {stored!r}; "
            "start over with --fresh"
        )
    return stored


def _write_identity(storage: BaseStorage, study_id: int, identity: Mapping[str, Any]) -> None:
    """Store the identity and our name with a new study."""
    record = {"schema": IDENTITY_SCHEMA, "keys": dict(identity), STARTUP: STARTUP_TRIALS}
    storage.set_study_user_attr(study_id, IDENTITY, json.dumps(record, sort_keys=True))
    storage.set_study_user_attr(study_id, OWNER, whoami())


def _check_same(stored: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> None:
    """Raise IdentityError for the first key that differs."""
    # An identity of before there were numerics has none
    for key in sorted({*stored, *wanted} - FREE, key=lambda key: (key != "numerics", key)):
        is_source = key.startswith(("plugin.", "module."))
        is_same = (
            same_sources if is_source else _is_same if key.startswith("space.") else operator.eq
        )
        if not is_same(stored.get(key), wanted.get(key)):
            raise IdentityError(
                where,
                key,
                expected=f"{_shown(stored.get(key), is_source)} as in the stored study",
                got=_shown(wanted.get(key), is_source),
                remedy=_remedy(key, stored.get(key)),
            )


def _remedy(key: str, stored: object) -> str:
    """What a user can do about another value of `key`."""
    other = "give the study another name (--set study.name=...), or start over with --fresh"
    return f"set HARNESS_NATIVE={stored or 0}, {other}" if key == NATIVE else other


def _is_same(stored: object, wanted: object) -> bool:
    """Whether two values of [space] are equal: 1 and 1.0 differ, as they do to Optuna."""
    return json.dumps(stored, sort_keys=True) == json.dumps(wanted, sort_keys=True)


def _shown(value: Any, is_source: bool) -> Shown:
    """A value of an identity as an error shows it; of sources the hashes of their bytes."""
    if not is_source or not isinstance(value, list):
        return Shown("none" if is_source and value is None else repr(value))
    hashes = [each.get("bytes") if isinstance(each, dict) else each for each in value]
    return Shown(f"source {' and '.join(map(str, hashes))}")
