"""The DICOM service of the node: C-ECHO and C-STORE, for callers that are known."""

from collections.abc import Callable
from typing import Any

from gliodistill.errors import GliodistillError, OutputError
from gliodistill.serve.pacs.intake import Intake, Refused
from gliodistill.serve.pacs.ledger import Conflict
from gliodistill.serve.pacs.settings import NodeSettings

MR_IMAGES = (
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.4.1",
    "1.2.840.10008.5.1.4.1.1.4.4",
)
"""MR, enhanced MR, legacy converted enhanced MR. Nothing else is taken, so that our own results do
not come back to us."""

MOST_ASSOCIATIONS = 8
IDLE_S, ANSWER_S = 60.0, 30.0
"""Seconds without a word, after which an association is ended; and for one answer."""

SUCCESS, NO_ROOM, NOT_UNDERSTOOD, NOT_TAKEN, SAME_UID = 0x0000, 0xA700, 0xC000, 0xA900, 0x0111


class Receiver:
    """Listens.

    Args:
        settings: of the node.
        intake: keeps the images.
        say: told what is worth a line of the log.
    """

    def __init__(self, settings: NodeSettings, intake: Intake, say: Callable[[str], None]) -> None:
        self._settings, self._intake, self._say = settings, intake, say
        self._server: Any = None

    def start(self) -> None:
        """Listen.

        Raises:
            GliodistillError: the port is taken.
        """
        from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt

        entity = AE(ae_title=self._settings.aet)
        entity.add_supported_context("1.2.840.10008.1.1")
        for image in MR_IMAGES:
            entity.add_supported_context(image, ALL_TRANSFER_SYNTAXES)
        entity.require_called_aet = True
        entity.require_calling_aet = list(self._settings.callers)
        entity.maximum_associations = MOST_ASSOCIATIONS
        entity.network_timeout, entity.acse_timeout = IDLE_S, ANSWER_S
        entity.dimse_timeout = IDLE_S
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_REJECTED, self._rejected)]
        address = (self._settings.bind, self._settings.port)
        try:
            self._server = entity.start_server(address, block=False, evt_handlers=handlers)
        except OSError as error:
            raise GliodistillError(
                "cannot listen there",
                field="--port",
                got=f"{self._settings.bind}:{self._settings.port}, {error.strerror}",
                hint="choose another port",
            ) from None

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()

    def _store(self, event: Any) -> int:
        """One image; the status that its sender hears."""
        try:
            data = event.dataset
            study, image = str(data.StudyInstanceUID), str(data.SOPInstanceUID)
            if image != str(event.request.AffectedSOPInstanceUID):
                return NOT_TAKEN
            content = event.encoded_dataset()
        except Exception:  # whatever the bytes lead pydicom to
            return NOT_UNDERSTOOD
        try:
            self._intake.keep(study, image, content)
        except Conflict:
            self._say("refused an image: another one with its UID is here")
            return SAME_UID
        except OutputError as error:
            self._say(f"cannot keep an image: {error.got}")
            return NO_ROOM
        except Refused as error:
            self._say(f"refused an image: {error}")
            return NOT_TAKEN
        return SUCCESS

    def _rejected(self, event: Any) -> None:
        caller = str(event.assoc.requestor.ae_title).strip()
        why = "who is not accepted here"
        if caller in self._settings.callers:
            why = f"who called another AE title than {self._settings.aet}"
        self._say(f"refused an association from {caller!r}, {why}")
