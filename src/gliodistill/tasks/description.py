"""Reading and writing of a task's description: plain data, checked key by key."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from gliodistill.documents import Fields, Refusal
from gliodistill.errors import LabelError
from gliodistill.registry import nearest
from gliodistill.tasks.conventions import LabelConvention, bring, find_convention
from gliodistill.tasks.task import Evaluation, Task, TaskRegion
from gliodistill.tasks.tissues import TISSUES, Look, Tissue

NOT_A_TASK = Refusal(
    LabelError, "task description does not fit", "gliodistill tasks glioma --yaml shows one"
)
_KEYS = (
    "name", "title", "scans", "patient", "least_ml", "conventions", "ids", "tissues", "regions",
    "clean_up", "evaluation",
)  # fmt: skip
_LOOK = ("words", "colour", "code")


def task_of(values: object, refusal: Refusal = NOT_A_TASK) -> Task:
    """A task from plain data, as :func:`description_of` gives it or a file holds it.

    Args:
        values: a mapping.
        refusal: the wording of errors.

    Raises:
        LabelError: a key that is missing, unknown or of another form, or parts that do not fit
            together; it is named.
    """
    told = Fields(values, refusal)
    _known(told, _KEYS)
    looks = {name: _look(part) for name, part in _parts(told, "tissues").items()}
    conventions = _conventions(told)
    regions = tuple(_region(name, part) for name, part in told.part("regions").parts().items())
    tissues = {tissue for region in regions for tissue in region.tissues}
    if unknown := sorted(tissues - set(TISSUES) - set(looks)):
        raise refusal(
            f"tissues.{unknown[0]}",
            "nothing",
            f"{', '.join(_LOOK)} of this tissue, or one of {', '.join(TISSUES)}",
        )
    try:
        return Task(
            told.text("name"),
            told.text("title"),
            told.text("scans"),
            conventions,
            regions,
            _evaluation(told, regions),
            tuple(told.texts("ids")) if "ids" in told else (),
            tuple(told.texts("clean_up")) if "clean_up" in told else (),
            looks,
            told.text("patient") if "patient" in told else "a patient",
            told.number("least_ml") if "least_ml" in told else 1.0,
        )
    except LabelError as error:
        raise LabelError(
            error.problem,
            file=refusal.file,
            field=error.field,
            got=error.got,
            expected=error.expected,
            hint=error.hint,
        ) from None


def description_of(task: Task) -> dict[str, Any]:
    """A task as plain data, complete in itself: with the codes of its conventions."""
    told: dict[str, Any] = {
        "name": task.name,
        "title": task.title,
        "scans": task.scans,
        "patient": task.patient,
        "least_ml": task.least_ml,
        "conventions": {
            each.name: {"source": each.source, "codes": _by_tissue(each)}
            for each in task.conventions
        },
        "ids": list(task.ids),
        "tissues": {name: _look_of(look) for name, look in task.looks.items()},
        "regions": {
            region.name: {
                "tissues": sorted(map(str, region.tissues)),
                "paint": list(map(str, region.paint)),
                **({} if region.within is None else {"within": region.within}),
                **_look_of(region.look),
            }
            for region in task.regions
        },
        "clean_up": list(task.clean_up),
        "evaluation": {
            "challenges": list(task.evaluation.challenges),
            "also": {
                name: sorted(map(str, tissues))
                for name, tissues in task.evaluation.regions.items()
                if name not in task.names
            },
            "order": list(task.evaluation.regions),
        },
    }
    return told


def tissue_of(name: str) -> str:
    """The tissue of that name: ours, or one that a task brings."""
    return Tissue(name) if name in set(Tissue) else name


def _known(told: Fields, keys: Collection[str]) -> None:
    for key in told:
        if key not in keys:
            refusal = replace(told.refusal, hint=nearest(key, keys) or told.refusal.hint)
            raise refusal(told.place(key), "an unknown key", ", ".join(keys))


def _parts(told: Fields, name: str) -> Mapping[str, Fields]:
    return told.part(name).parts() if name in told else {}


def _look(told: Fields) -> Look:
    _known(told, _LOOK)
    return _look_in(told)


def _look_in(told: Fields) -> Look:
    words, colour, code = told.text("words"), told.text("colour"), told.texts("code")
    try:
        scheme, value, meaning = code
        return Look(words, colour, (scheme, value, meaning))
    except ValueError as error:
        raise told.refusal(
            told.where, str(error), 'words, colour: "#1a2b3c", code: [SCT, …, …]'
        ) from None


def _look_of(look: Look) -> dict[str, Any]:
    return {"words": look.words, "colour": look.colour, "code": list(look.code)}


def _region(name: str, told: Fields) -> TaskRegion:
    _known(told, ("tissues", "paint", "within", *_LOOK))
    paint = told.get("paint", (str, list), "a tissue, or several to choose from")
    painted = [paint] if isinstance(paint, str) else told.texts("paint")
    return TaskRegion(
        name,
        frozenset(map(tissue_of, told.texts("tissues"))),
        tuple(map(tissue_of, painted)),
        told.text("within") if told.values.get("within") is not None else None,
        _look_in(told),
    )


def _conventions(told: Fields) -> tuple[LabelConvention, ...]:
    """Those it names, or describes."""
    given = told.get("conventions", (list, dict), "names of label conventions, or descriptions")
    if isinstance(given, list):
        return tuple(
            find_convention(name, file=told.refusal.file, field="conventions")
            for name in told.texts("conventions")
        )
    return tuple(_convention(name, part) for name, part in told.part("conventions").parts().items())


def _convention(name: str, told: Fields) -> LabelConvention:
    _known(told, ("source", "codes"))
    codes: dict[int, str] = {}
    each = told.part("codes")
    for tissue in each:
        value = each.get(tissue, (int, list), "a code from 1 to 255, or several")
        for code in value if isinstance(value, list) else [value]:
            if type(code) is not int or not 0 < code < 256 or code in codes:
                raise told.refusal(each.place(tissue), code, "codes from 1 to 255, each once")
            codes[code] = tissue_of(tissue)
    if not codes:
        raise told.refusal(each.where, "nothing", "tissue: code, …")
    return bring(name, told.text("source"), dict(sorted(codes.items())))


def _by_tissue(convention: LabelConvention) -> dict[str, int | list[int]]:
    codes: dict[str, list[int]] = {}
    for code, tissue in convention.codes.items():
        codes.setdefault(str(tissue), []).append(code)
    return {tissue: each[0] if len(each) == 1 else each for tissue, each in codes.items()}


def _evaluation(told: Fields, regions: tuple[TaskRegion, ...]) -> Evaluation:
    own = {region.name: region.tissues for region in regions}
    if "evaluation" not in told:
        return Evaluation((), own)
    part = told.part("evaluation")
    _known(part, ("challenges", "also", "order"))
    also = part.part("also") if "also" in part else None
    further = (
        {} if also is None else {name: frozenset(map(tissue_of, also.texts(name))) for name in also}
    )
    every = own | further
    order = part.texts("order") if "order" in part else list(every)
    if sorted(order) != sorted(every):
        raise part.refusal(part.place("order"), order, f"each once: {', '.join(every)}")
    challenges = tuple(part.texts("challenges")) if "challenges" in part else ()
    return Evaluation(challenges, {name: every[name] for name in order})
