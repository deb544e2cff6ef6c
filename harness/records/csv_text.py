"""Text cells of CSV files that no spreadsheet evaluates, and the text that they stand for."""

from __future__ import annotations

import re
from typing import Final

# What Excel, LibreOffice and Google Sheets take for the start of a formula (OWASP, CSV Injection)
_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")
_HARMLESS: Final = re.compile(r"'+[=+\-@\t\r]")


def harmless_cell(text: str) -> str:
    """The text, with ' before it where a spreadsheet would evaluate it.

    Also where it begins with ' and then so, so that `original_text` gives back every text.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def original_text(cell: str) -> str:
    """The text that `harmless_cell` made the cell of."""
    return cell[1:] if _HARMLESS.match(cell) else cell
