"""Bounded readers of JSON, YAML and CSV files; every such file is read by this package.

The result is plain data: mappings with text keys, lists, text, finite numbers of 64 bits,
true, false and null. A document that is too large or too deep, repeats a key, or holds an invalid
number or text, is refused in one line.

YAML has a module of its own (:mod:`gliodistill.documents.yaml_text`), which only training imports.
"""

from gliodistill.documents.fields import Fields
from gliodistill.documents.json_text import parse_json, read_json, read_json_lines
from gliodistill.documents.reading import Refusal, read_document
from gliodistill.documents.table import read_table

__all__ = [
    "Fields",
    "Refusal",
    "parse_json",
    "read_document",
    "read_json",
    "read_json_lines",
    "read_table",
]
