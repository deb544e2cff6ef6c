"""`python -m harness.report DIR`.

Draw the report of a study or a bench, or an index of several, from stored files. Never trains.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import LineCommand, run
from harness.errors import HarnessError, printable

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=LineCommand)
def report(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of a study's or a bench's results.")
    ],
    language: Annotated[str, typer.Option(help="Language of the report.")] = "en",
    index: Annotated[
        bool, typer.Option("--index", help="Write DIR/README.md over the results in DIR/reference.")
    ] = False,
) -> None:
    """Draw the report of DIR again from what is stored there, without training or timing."""
    try:
        from harness.report.dispatch import render_folder
        from harness.report.index import write_index

        if index:
            typer.echo(f"index: {write_index(directory, language)}")
            return
        answer = render_folder(directory, language)
    except HarnessError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    typer.echo(printable(answer.text))
    typer.echo(f"report: {answer.html}")


def main() -> None:
    """Run the command."""
    run(app)


if __name__ == "__main__":
    main()
