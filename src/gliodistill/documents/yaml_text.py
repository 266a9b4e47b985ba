"""YAML restricted to JSON's data: tags and endless aliases are refused, dates stay text."""

import math
import os
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import Resolver
from yaml.scanner import Scanner

from gliodistill.documents.reading import (
    MOST_DEPTH,
    BadDocument,
    Refusal,
    Unreal,
    check_plain,
    check_type,
    read_document,
)
from gliodistill.errors import brief

MOST_BYTES = 128 << 10
"""Largest YAML file; a recipe has three thousand bytes."""
MOST_VALUES = 10_000
"""Values of a document, those behind aliases counted each time."""
_LONGEST_NUMBER = 100
_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"


def read_yaml(
    path: str | os.PathLike[str],
    refusal: Refusal,
    expect: type | tuple[type, ...] = dict,
    times: int = 1,
) -> Any:
    """Read a YAML file as plain data.

    Args:
        path: the file.
        refusal: the wording of errors.
        expect: what it must hold: ``dict``, ``list`` or both.
        times: how much larger than usual it may be.

    Raises:
        GliodistillError: it cannot be read, is no YAML, repeats a key, has a tag, is beyond the
            bounds, or holds something else than what is expected.
    """
    text = read_document(path, refusal, times * MOST_BYTES)
    return parse_yaml(text, refusal.of(path), expect, times)


def parse_yaml(
    text: str,
    refusal: Refusal,
    expect: type | tuple[type, ...] = (dict, object),
    times: int = 1,
) -> Any:
    """Parse YAML text (of any type by default); see :func:`read_yaml`."""
    try:
        if len(text) > times * MOST_BYTES:
            raise BadDocument("size", f"{len(text)} characters", f"at most {times * MOST_BYTES}")
        values = _Plain(times).value(_Tree(text, times).get_single_node(), 1)
        check_plain(values)
    except BadDocument as bad:
        raise refusal(bad.field, bad.got, bad.expected) from None
    except yaml.YAMLError as error:
        raise refusal("YAML", _words(error), "valid YAML") from error
    return check_type(values, expect, refusal, "a mapping")


def _words(error: yaml.YAMLError) -> str:
    """The parser's message and its line number."""
    problem = getattr(error, "problem", None) or getattr(error, "reason", None)
    mark = getattr(error, "problem_mark", None)
    line = f"line {mark.line + 1}: " if mark else ""
    return line + (problem or str(error).partition("\n")[0])


class _Tree(Reader, Scanner, Parser, Composer, Resolver):
    """The nodes of a document, of bounded depth."""

    def __init__(self, text: str, times: int = 1) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        Resolver.__init__(self)
        self.depth, self.most = 0, times * MOST_VALUES
        self.left = self.most

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:
        """Fetch a token as the scanner does, with bounded depth: its look-ahead costs the square of
        depth.
        """
        if self.flow_level >= MOST_DEPTH:
            raise BadDocument("nesting", "deeper", f"at most {MOST_DEPTH} levels")
        super().fetch_flow_collection_start(TokenClass)

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """As the composer does, no deeper than bounded."""
        if self.depth > MOST_DEPTH and not self.check_event(AliasEvent):
            raise BadDocument("nesting", "deeper", f"at most {MOST_DEPTH} levels")
        self.depth, self.left = self.depth + 1, self.left - 1
        if self.left < 0:
            raise _too_many(self.most)
        try:
            node: Node | None = super().compose_node(parent, index)
            return node
        finally:
            self.depth -= 1


class _Plain:
    """Nodes to plain data; every visit of a value counts."""

    def __init__(self, times: int = 1) -> None:
        self.most = self.left = times * MOST_VALUES
        self.scalars = SafeConstructor()

    def value(self, node: Node | None, depth: int) -> Any:
        """The value of a node."""
        self.left -= 1
        if self.left < 0:
            raise _too_many(self.most)
        if depth > MOST_DEPTH + 1:
            raise BadDocument("nesting", "deeper", f"at most {MOST_DEPTH} levels")
        if node is None:
            return None
        if isinstance(node, MappingNode) and node.tag == _TAG + "map":
            return self.mapping(node, depth)
        if isinstance(node, SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(item, depth + 1) for item in node.value]
        if isinstance(node, ScalarNode):
            return self.scalar(node)
        raise _bad_tag(node)

    def mapping(self, node: MappingNode, depth: int) -> dict[str, Any]:
        """Unique keys; explicit keys override those of ``<<``."""
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            value = self.value(value_node, depth + 1)
            if key_node.tag == _MERGE:
                parts = value if isinstance(value, list) else [value]
                if not all(isinstance(part, dict) for part in parts):
                    raise BadDocument(_line(key_node, "<<"), brief(value), "a mapping, or several")
                for part in parts:
                    merged = part | merged
                continue
            key = self.scalar(key_node) if isinstance(key_node, ScalarNode) else None
            if not isinstance(key, str):
                got = brief(key_node.value) if isinstance(key_node, ScalarNode) else key_node.id
                raise BadDocument(_line(key_node, "key"), got, "text")
            if key in values:
                got = "a repeated name"
                raise BadDocument(_line(key_node, f"key {brief(key)}"), got, "each key once")
            values[key] = value
        return merged | values

    def scalar(self, node: ScalarNode) -> Any:
        """Text, a number, true, false or null."""
        kind, text = node.tag.removeprefix(_TAG), str(node.value)
        if kind in ("str", "timestamp", "value") or (kind in ("int", "float") and ":" in text):
            return text
        if kind not in ("null", "bool", "int", "float"):
            raise _bad_tag(node)
        if kind in ("int", "float") and len(text) > _LONGEST_NUMBER:
            return Unreal(text)
        try:
            value = getattr(self.scalars, f"construct_yaml_{kind}")(node)
        except (ValueError, KeyError, IndexError) as error:
            raise BadDocument(_line(node, "value"), brief(text), f"{kind}, as tagged") from error
        return value if not isinstance(value, float) or math.isfinite(value) else Unreal(text)


def _too_many(most: int) -> BadDocument:
    return BadDocument("values", "more", f"at most {most}, aliases expanded")


def _line(node: Node, what: str) -> str:
    return f"{what} in line {node.start_mark.line + 1}"


def _bad_tag(node: Node) -> BadDocument:
    return BadDocument(_line(node, "tag"), brief(node.tag), "no tag")
