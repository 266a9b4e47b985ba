"""Images come in: each is on the disk and in the ledger before its sender hears that it arrived."""

import hashlib
from pathlib import Path

from gliodistill.dicom.headers import read_header
from gliodistill.dicom.scan import study_key
from gliodistill.errors import GliodistillError
from gliodistill.files import make_folder, write_bytes
from gliodistill.serve.pacs.ledger import Ledger
from gliodistill.serve.pacs.settings import NodeSettings


class Refused(GliodistillError):
    """An image that is not taken."""


class Intake:
    """Keeps images.

    Args:
        settings: of the node.
        ledger: of the node.
    """

    def __init__(self, settings: NodeSettings, ledger: Ledger) -> None:
        self._settings, self._ledger = settings, ledger
        self._root = make_folder(settings.folder / "received")

    def keep(self, study: str, image: str, content: bytes) -> bool:
        """Keep an image; whether it is new.

        Args:
            study: its StudyInstanceUID.
            image: its SOPInstanceUID.
            content: of the file.

        Raises:
            Refused: too large, or one too many, or damaged.
            Conflict: another image has its UID.
            OutputError: the disk is full.
        """
        if len(content) > self._settings.image_bytes:
            raise Refused("too large an image", got=f"{len(content)} bytes")
        digest = hashlib.sha256(content).hexdigest()
        if self._ledger.knows(image, digest):
            return False
        if self._ledger.count(study) >= self._settings.images:
            raise Refused("too many images of one study", got=self._settings.images + 1)
        # UIDs come from outside: their hashes name the files.
        name = hashlib.sha256(image.encode()).hexdigest()[:32]
        file = make_folder(self._root / study_key(study)) / f"{name}.dcm"
        write_bytes(file, content)
        self._ledger.add(study, study_key(study), image, file, digest, self._settings.quiet_s)
        return True

    def values(self, files: list[Path], keyword: str) -> list[str]:
        """What the images of a study say under a keyword of DICOM, each once."""
        found: dict[str, None] = {}
        for file in files:
            told = read_header(file).get(keyword)
            if told:
                found[str(told)] = None
        return list(found)
