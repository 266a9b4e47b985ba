"""Registry of the kinds of teachers, and a teacher as a recipe or an option names it.

In a recipe: ``teacher: {files: predictions/, channels: [WT, TC, ET]}``, a mapping with the name of
one kind. On the command line: ``files:predictions/``, or the path alone where it tells its kind.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

from gliodistill.documents import Refusal
from gliodistill.documents.yaml_text import parse_yaml
from gliodistill.errors import RecipeError
from gliodistill.recipes.options import fitting
from gliodistill.registry import Registry, nearest
from gliodistill.teachers.base import Teacher

AnyTeacher = TypeVar("AnyTeacher", bound=type[Teacher])


def _check_teacher(name: str, teacher: type[Teacher]) -> None:
    if not (isinstance(teacher, type) and issubclass(teacher, Teacher)):
        raise ValueError(f"teacher {name!r} is no subclass of gliodistill.teachers.Teacher")


TEACHERS: Registry[type[Teacher]] = Registry(
    "teacher", "gliodistill.teachers", RecipeError, _check_teacher
)
"""Name → kind of teacher, ours and those of other packages."""


def register_teacher(name: str) -> Callable[[AnyTeacher], AnyTeacher]:
    """Decorator that adds a kind of teacher under ``name``.

    Raises:
        ValueError: the name is taken, or it is no Teacher (a programmer's error).
    """
    return TEACHERS.register(name)


@dataclass(frozen=True)
class ForeignTeacher:
    """A teacher as a recipe names it; its files are not opened.

    Attributes:
        kind: of the registry.
        source: where it is: a folder, a file, or what the kind takes.
        options: of the kind, checked.
        live: whether it runs on the patches of each step; else it predicts each study once, before
            training. None = only where a loss reads its features.
    """

    kind: str
    source: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    live: bool | None = None

    def open(self) -> Teacher:
        """The teacher itself.

        Raises:
            GliodistillError: its files are missing or are not what they should be.
        """
        return TEACHERS[self.kind](self.source, **self.options)  # type: ignore[call-arg]

    def as_dict(self) -> dict[str, Any]:
        """As a recipe has it."""
        live = {} if self.live is None else {"live": self.live}
        return {self.kind: self.source, **self.options, **live}

    def __str__(self) -> str:
        return f"{self.kind}:{self.source}"


def parse_teacher(value: object, field: str) -> ForeignTeacher:
    """A teacher of a recipe (a mapping) or of the command line (``kind:source``, the mapping as
    text: ``{files: out, channels: [WT, TC, ET]}``, or a path that tells its kind); nothing is read.

    Args:
        value: as given.
        field: where, for errors.

    Raises:
        RecipeError: no kind or several, an unknown one, or an option that does not fit.
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = parse_yaml(value, Refusal(RecipeError, "not a teacher", field=field))
    if isinstance(value, str):
        value = _named(value, field)
    given = dict(value) if isinstance(value, Mapping) else {}
    kinds = [key for key in given if key in TEACHERS]
    if len(kinds) != 1:
        known = TEACHERS.names()
        raise RecipeError(
            "not a teacher",
            field=field,
            got=value,
            expected=f"one kind and its path, with one of {', '.join(known)}",
            hint=next(filter(None, (nearest(str(key), known) for key in given)), None),
        )
    (kind,), source = kinds, given.pop(kinds[0])
    live = fitting({"live": given.pop("live", None)}, {"live": bool | None}, field)["live"]
    if live and not TEACHERS[kind].runs:
        raise RecipeError(
            "the teacher predicts whole studies only",
            field=f"{field}.live",
            got=live,
            expected="false",
        )
    parameters = signature(TEACHERS[kind]).parameters.values()
    accepted = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
    return ForeignTeacher(kind, source, fitting(given, accepted, field), live)


def kind_at(path: Path) -> str | None:
    """The one kind of teacher that a file or folder certainly is; None for none or several."""
    if not path.exists():
        return None
    kinds = [kind for kind in TEACHERS.names() if TEACHERS[kind].is_at(path)]
    return kinds[0] if len(kinds) == 1 else None


def _named(text: str, field: str) -> dict[str, str]:
    """Kind and source of ``kind:source``, or of a path of which one kind is sure."""
    path = Path(text)
    if found := kind_at(path):
        return {found: text}
    kind, colon, source = text.partition(":")
    if not colon or not source:
        raise RecipeError(
            "the kind of the teacher cannot be told" if path.exists() else "not a teacher",
            field=field,
            got=text,
            expected=f"KIND:PATH, with one of {', '.join(TEACHERS.names())}",
        )
    TEACHERS.find(kind, field)
    return {kind: source}


def stored_teacher(value: Mapping[str, Any], field: str) -> ForeignTeacher:
    """A teacher of a recipe that was trained: one of a kind that is not known here too, unchecked.

    Args:
        value: as the recipe has it, its kind first.
        field: where, for errors.

    Raises:
        RecipeError: as of :func:`parse_teacher`, for kinds that are known.
    """
    if not value or any(key in TEACHERS for key in value):
        return parse_teacher(value, field)
    (kind, source), *options = value.items()
    plain = {key: option for key, option in options if key != "live"}
    return ForeignTeacher(kind, source, plain, value.get("live"))
