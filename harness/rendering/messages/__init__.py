"""All texts of the reports: one file for each language, such as `en.toml` beside this module.

To add a language, add one file, such as `ko.toml`, with the keys and the {fields} of `en.toml`.
Nothing else is needed: `--language ko` finds it, and the tests compare its keys and fields with the
English ones. Texts are plain: no HTML, no Markdown.
"""

import dataclasses
import string
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from harness.errors import InputError, nearest


@dataclasses.dataclass(frozen=True)
class Messages:
    """The texts of one language by dotted key."""

    language: str
    texts: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """The text of `key` with its {fields} filled in.

        KeyError for an unknown key or a missing field.
        """
        return self.texts[key].format(**values)

    def of(self, family: str, name: str, **values: object) -> str:
        """The text of `family.name`, where data gives the name, such as a trial's status.

        The name itself if there is no such text.
        """
        text = self.texts.get(f"{family}.{name}")
        return name if text is None else text.format(**values)

    def listed(self, items: Iterable[str]) -> str:
        """The items as a list in a sentence: "a, b and c"."""
        *first, last = items
        if not first:
            return last
        return self("list.last", first=self("list.between").join(first), last=last)


def languages() -> tuple[str, ...]:
    """The languages that have a file of texts."""
    files = resources.files(__name__).iterdir()
    return tuple(sorted(f.name[: -len(".toml")] for f in files if f.name.endswith(".toml")))


def load_messages(language: str) -> Messages:
    """The texts of a language. Raises InputError for a language without a file."""
    if language not in languages():
        raise InputError(
            "language",
            expected="a language with a file of texts",
            got=language,
            remedy=nearest(language, languages()),
        )
    return Messages(language, _read_texts(language))


def _read_texts(language: str) -> dict[str, str]:
    text = resources.files(__name__).joinpath(f"{language}.toml").read_text(encoding="utf-8")
    return dict(_flat(tomllib.loads(text)))


def fields(text: str) -> frozenset[str]:
    """Names of the {fields} in a text."""
    return frozenset(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, str(value)
