"""Reference segmentations: of studies in any layout, or label maps without images."""

from dataclasses import replace
from pathlib import Path

from gliodistill.errors import StudyError
from gliodistill.studies.cohort import Cohort
from gliodistill.studies.layouts import Found, find_studies, look_for_studies
from gliodistill.studies.layouts.label_maps import find_label_maps, names_beside
from gliodistill.studies.records import ImageFile, StudyRecord


def find_references(path: Path, layout: str | None = None) -> tuple[Cohort, Found]:
    """All label maps under ``path``, without a convention: those of studies, those without an
    image, and, if there is no study, those of a folder of label maps (see
    :mod:`gliodistill.studies.layouts.label_maps`).

    Raises:
        StudyError: nothing found, several layouts fit, two label maps with the same id.
    """
    found = look_for_studies(path, layout)
    if found is None or not found.studies:
        maps = find_label_maps(path) if path.is_dir() and layout is None else {}
        if maps:
            names = names_beside(path)
            for id, files in maps.items():
                if len(files) > 1:
                    raise StudyError(
                        "two label maps of one id",
                        file=path,
                        field=id,
                        got=" and ".join(str(file.relative_to(path)) for file in files[:2]),
                        expected="one",
                    )
            alone = {id: ImageFile(files[0]) for id, files in maps.items()}
            found = Found("label maps", (), label_names=names, label_maps=alone)
        elif found is None or not found.label_maps:
            found = find_studies(path, layout)  # reports what is there instead
    studies = (*found.studies, *_alone(found))
    problems = tuple(str(problem) for problem in found.problems)
    cohort = Cohort(found.layout, None, tuple(sorted(studies, key=lambda r: r.id)), problems)
    return cohort, replace(found, studies=cohort.studies)


def _alone(found: Found) -> list[StudyRecord]:
    """Records of label maps without an image."""
    there = {record.id for record in found.studies}
    return [
        StudyRecord(id, id, {}, file) for id, file in found.label_maps.items() if id not in there
    ]
