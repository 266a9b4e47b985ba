"""Documents that others wrote (JSON, YAML, tables): every one is read here, and read with bounds.

What comes back is plain data: mappings with text keys, lists, text, finite numbers of 64 bits,
true, false and null. A document that is too large or too deep, repeats a key, or holds a number or
text that no file of this toolkit can mean, is refused in one line, as is one that is no document.

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
