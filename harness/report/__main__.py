"""`python -m harness.report DIR`: draw the report of a results folder, or an index of several.

Reads stored files only. Never trains, never times.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import LineCommand, errors, run, typed
from harness.errors import printable, visible

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=LineCommand)
def report(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The results folder of a study, bench or regress.")
    ],
    language: Annotated[str, typer.Option(help="Language of the report.")] = "en",
    index: Annotated[
        bool, typer.Option("--index", help="Write DIR/README.md over the results in DIR/reference.")
    ] = False,
) -> None:
    """Draw the report of DIR again from what is stored there, without training or timing."""
    with errors(typed("report", whole_paths=True)):
        from harness.report.dispatch import render_folder
        from harness.report.index import write_index

        if index:
            typer.echo(visible(f"index: {write_index(directory, language)}"))
            return
        written = render_folder(directory, language)
    typer.echo(printable(written.text))
    typer.echo(visible(f"report: {written.html}"))


def main() -> None:
    """Run the command."""
    run(app)


if __name__ == "__main__":
    main()
