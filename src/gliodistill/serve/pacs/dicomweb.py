"""DICOMweb instead of C-STORE: studies are asked for (QIDO, WADO), results are stored (STOW)."""

import io
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gliodistill.errors import GliodistillError
from gliodistill.extras import load
from gliodistill.serve.pacs.intake import Intake
from gliodistill.serve.pacs.ledger import Conflict
from gliodistill.serve.pacs.receiver import MR_IMAGES
from gliodistill.serve.pacs.sender import NotSent
from gliodistill.serve.pacs.settings import NodeSettings

_STUDY, _SERIES, _IMAGES, _MODALITY = "0020000D", "0020000E", "00201209", "00080060"


def poll(
    settings: NodeSettings,
    intake: Intake,
    say: Callable[[str], None],
    ended: threading.Event,
) -> None:
    """Fetch the MR images of every study that is new, or has become larger, until ``ended``."""
    seen: dict[str, str] = {}
    while True:
        try:
            _fetch_new(settings, intake, seen)
        except Exception as error:  # the other side may answer anything; the node goes on
            say(f"{settings.dicomweb}: {type(error).__name__}; again in {settings.poll_s:.0f} s")
        if ended.wait(settings.poll_s):
            return


def store(url: str, files: Sequence[Path]) -> None:
    """Store files on a DICOMweb server.

    Raises:
        NotSent: it does not answer, or does not take them.
    """
    read = load("pydicom").dcmread
    try:
        _client(url).store_instances([read(file) for file in files])
    except Exception as error:  # requests and dicomweb-client raise many kinds
        raise NotSent("not stored", file=url, got=type(error).__name__) from None


def _client(url: str) -> Any:
    return load("dicomweb_client", "DICOMweb", extra="serve").DICOMwebClient(url)


def _fetch_new(settings: NodeSettings, intake: Intake, seen: dict[str, str]) -> None:
    client = _client(settings.dicomweb or "")
    for study in client.search_for_studies(search_filters={"ModalitiesInStudy": "MR"}):
        uid = study[_STUDY]["Value"][0]
        series = [
            one
            for one in client.search_for_series(uid)
            if one.get(_MODALITY, {}).get("Value", [""])[0] == "MR"
        ]
        state = repr(sorted((s[_SERIES]["Value"][0], str(s.get(_IMAGES))) for s in series))
        if seen.get(uid) == state:
            continue
        for one in series:
            for image in client.iter_series(uid, one[_SERIES]["Value"][0]):
                if str(image.SOPClassUID) in MR_IMAGES:
                    _keep(intake, uid, image)
        seen[uid] = state


def _keep(intake: Intake, study: str, image: Any) -> None:
    packed = io.BytesIO()
    image.save_as(packed, enforce_file_format=True)
    try:
        intake.keep(study, str(image.SOPInstanceUID), packed.getvalue())
    except Conflict:
        raise GliodistillError("another image with the same UID") from None
