"""What README promises a new user: its study runs as it stands, its links lead somewhere, its commands exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from harness import spec as specs
from harness.cells import CELLS
from harness.tasks import TASKS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ("README.md", "CONTRIBUTING.md", "docs/study_file.md", "results/README.md")


def test_the_study_in_readme_is_complete() -> None:
    """The study that README shows is accepted as it stands."""
    (text,) = re.findall(r"```toml\n(.*?)```", README, flags=re.DOTALL)
    spec = specs.parse(tomllib.loads(text), "README.md")
    checked = specs.check(spec, "README.md", TASKS, CELLS, 2**33)
    assert checked.study.name == "recall"


def test_every_link_leads_to_a_file() -> None:
    """No page of the repository links to a file that is not there."""
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            if "://" not in target:
                assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


def test_every_study_at_hand_is_listed() -> None:
    """README's table of studies names each study file, and no other."""
    (table,) = re.findall(r"## Studies at hand\n(.*?)\n## ", README, flags=re.DOTALL)
    listed = set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE))
    assert listed == set(specs.list_studies())


def test_every_key_of_a_study_file_is_documented() -> None:
    """docs/study_file.md has a row for each key that a study file can hold."""
    page = (ROOT / "docs" / "study_file.md").read_text(encoding="utf-8")
    models = (specs.Study, specs.Compare, specs.Training, specs.Search, specs.Confirm, specs.Claim)
    keys = {key for model in models for key in model.model_fields}
    assert {key for key in keys if f"`{key}`" not in page} == set()
