"""CSV tables, written so that spreadsheets run no cell as a formula, and read back.

A text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return gets an apostrophe in
front (https://owasp.org/www-community/attacks/CSV_Injection), and so does one that already has
apostrophes before such a sign; reading takes one apostrophe away again. Numbers are written as they
are.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows of texts and numbers as the text of a CSV file (None is an empty cell)."""
    lines = []
    for row in rows:
        line = io.StringIO(newline="")
        # With this line end, the writer quotes cells that contain either of its characters.
        csv.writer(line, lineterminator="\r\n").writerow([_cell(value) for value in row])
        lines.append(line.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines)


def read_cell(text: str) -> str:
    """A cell as it was before :func:`csv_text` guarded it; any other is returned as it is."""
    return text[1:] if _GUARDED.match(text) else text


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value
