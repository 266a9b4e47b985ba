"""Which patients validate the student: those that the teacher has not seen."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gliodistill.documents import Refusal, read_json
from gliodistill.errors import RecipeError, note
from gliodistill.studies.cohort import Cohort
from gliodistill.teachers import ForeignTeacher
from gliodistill.teachers.nnunet.teacher import found_folds, trained_folder

SPLITS, VARIABLE = "splits_final.json", "nnUNet_preprocessed"
_NO_SPLITS = Refusal(RecipeError, "not nnU-Net's splits_final.json")


def with_one_fold(teacher: ForeignTeacher) -> ForeignTeacher:
    """The teacher with one fold, where an nnU-Net has several and none is named: each fold has
    seen the validation patients of the others.
    """
    if teacher.kind != "nnunet" or teacher.options.get("folds"):
        return teacher
    folds = found_folds(teacher.source)
    if len(folds) > 1:
        note(
            f"the teacher is fold {folds[0]} of {', '.join(map(str, folds))}: its validation"
            " patients validate the student; name others with folds: [...] in --teacher"
        )
    return ForeignTeacher(teacher.kind, teacher.source, {**teacher.options, "folds": folds[:1]})


def validation_of(
    teacher: ForeignTeacher, cohort: Cohort, data: Path, splits: Path | None
) -> tuple[str, ...] | None:
    """Ids of the validation studies of the teacher's fold; None where no split is known, which is
    noted.

    Args:
        teacher: with its folds.
        cohort: the labelled studies.
        data: their folder, beside which nnU-Net's folders are looked for.
        splits: the file, if it was named.

    Raises:
        RecipeError: several folds, a fold without validation patients, a file that is missing or
            lacks the fold, or ids that are no studies.
    """
    if teacher.kind != "nnunet" and splits is None:
        note(
            f"which patients {teacher} was trained on is not known: where validation patients are"
            " among them, the scores of teacher and student are too high; --splits names a file"
        )
        return None
    folds: Sequence[Any] = teacher.options.get("folds") or [0]
    if len(folds) != 1 or not isinstance(folds[0], int):
        raise RecipeError(
            "no patient is unseen by all folds of the teacher",
            field="--teacher",
            got=", ".join(f"fold {fold}" for fold in folds),
            expected="one numbered fold",
            hint="or give the validation patients with --set 'data.validation=[ID, ID]'",
        )
    file = splits or _find(teacher, data)
    sides = read_json(file, _NO_SPLITS, list)
    fold = folds[0]
    if not (0 <= fold < len(sides) and isinstance(sides[fold], dict)):
        raise RecipeError(
            "fold is not in the splits", file=file, field="fold", got=fold,
            expected=f"0 to {len(sides) - 1}",
        )  # fmt: skip
    ids = {record.id for record in cohort.studies}
    chosen = sides[fold].get("val")
    trained = sides[fold].get("train")
    if not isinstance(chosen, list) or not isinstance(trained, list) or not set(chosen) & ids:
        raise RecipeError(
            "validation patients of the fold are not among the studies",
            file=file,
            field=f"{fold}.val",
            got=chosen,
            expected="ids of studies",
        )
    if strangers := sorted(ids - set(chosen) - set(trained)):
        note(f"{len(strangers)} studies are in neither side of {file.name}: they are trained on")
    return tuple(id for id in map(str, chosen) if id in ids)


def _find(teacher: ForeignTeacher, data: Path) -> Path:
    """nnU-Net's split of the data set, in the folders it uses."""
    folder = trained_folder(Path(str(teacher.source))).resolve()
    dataset = folder.parent.name
    places = [folder, folder.parent]
    if root := os.environ.get(VARIABLE):
        places.append(Path(root) / dataset)
    for near in (folder.parent.parent.parent, data.resolve().parent.parent):
        places.append(near / "nnUNet_preprocessed" / dataset)
    for place in places:
        if (place / SPLITS).is_file():
            return place / SPLITS
    raise RecipeError(
        "the teacher's split is not found",
        field="--splits",
        got=", ".join(str(place) for place in places[:2]) + ", …",
        expected=f"{SPLITS}, from nnUNet_preprocessed/{dataset}",
        hint="without it, patients that the teacher was trained on could validate the student",
    )
