"""Tables: CSV whose first row names the columns, each once."""

import csv
import io
import os

from gliodistill.documents.reading import BadDocument, Refusal, check_text, read_document
from gliodistill.errors import brief
from gliodistill.tables import read_cell


def read_table(
    path: str | os.PathLike[str], refusal: Refusal, delimiters: str = ","
) -> tuple[list[str], list[dict[str, str]]]:
    """The columns of a CSV file, and its rows as column → cell; empty lines are skipped, and the
    guards of :func:`~gliodistill.tables.csv_text` removed.

    Args:
        path: the file, UTF-8.
        refusal: the wording of errors.
        delimiters: those it may have; the most frequent one of the first line is taken.

    Raises:
        GliodistillError: it cannot be read, names a column twice, or has a row of another number of
            cells.
    """
    text = read_document(path, refusal)
    refusal = refusal.of(path)
    delimiter = max(delimiters, key=text.partition("\n")[0].count)
    try:
        check_text(text, ["CSV"])
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        columns = next(reader, [])
        if len(set(columns)) < len(columns):
            twice = next(name for name in columns if columns.count(name) > 1)
            raise BadDocument(f"column {brief(twice)}", "a repeated name", "each column once")
        rows = []
        for cells in reader:
            if len(cells) not in (0, len(columns)):
                got, expected = f"{len(cells)} cells", f"{len(columns)}, one for each column"
                raise BadDocument(f"line {reader.line_num}", got, expected)
            if cells:
                rows.append(dict(zip(columns, map(read_cell, cells), strict=True)))
    except BadDocument as bad:
        raise refusal(bad.field, bad.got, bad.expected) from None
    except csv.Error as error:
        raise refusal("CSV", error, "a table in UTF-8") from error
    return columns, rows
