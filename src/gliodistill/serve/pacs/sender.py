"""Results go out, by C-STORE or STOW-RS."""

from collections.abc import Sequence
from pathlib import Path

from gliodistill.errors import GliodistillError
from gliodistill.serve.pacs.settings import NodeSettings, Peer

RESULTS = (
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.88.34",
)
"""Segmentation, comprehensive 3-D SR."""

WARNINGS = range(0xB000, 0xC000)
"""Stored, with a remark."""


class NotSent(GliodistillError):
    """The other side did not take a file; it may later."""


def send(settings: NodeSettings, peer: Peer, files: Sequence[Path]) -> None:
    """Send files to a peer, in one association.

    Raises:
        NotSent: it does not answer, or does not take them.
    """
    from pynetdicom import AE

    entity = AE(ae_title=settings.aet)
    for kind in RESULTS:
        entity.add_requested_context(kind, "1.2.840.10008.1.2.1")
    entity.acse_timeout = entity.network_timeout = entity.connection_timeout = 20
    entity.dimse_timeout = 120
    association = entity.associate(peer.host, peer.port, ae_title=peer.aet)
    if not association.is_established:
        raise NotSent("no answer, or a refusal", file=str(peer))
    try:
        for file in files:
            try:
                status = association.send_c_store(file)
            except (ValueError, AttributeError, RuntimeError, OSError) as error:
                raise NotSent("cannot be sent", file=str(peer), got=str(error)) from None
            code = getattr(status, "Status", None)
            if code is None or (code != 0 and code not in WARNINGS):
                got = "no answer" if code is None else f"status {code:04X}"
                raise NotSent("not taken", file=str(peer), got=got)
    finally:
        association.release()
