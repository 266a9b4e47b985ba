"""How a node is set up, checked before it starts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from gliodistill.errors import GliodistillError

FIELDS = {
    "modality": "Modality",
    "body_part": "BodyPartExamined",
    "description": "StudyDescription",
    "station": "StationName",
}
"""What rules may ask about → keyword of DICOM."""


@dataclass(frozen=True)
class Peer:
    """Another node: ``AET@host:port``."""

    aet: str
    host: str
    port: int

    @classmethod
    def of(cls, text: str) -> "Peer":
        """Read ``AET@host:port``.

        Raises:
            GliodistillError: another form.
        """
        found = re.fullmatch(r"([^@]+)@(\[[0-9a-fA-F:]+\]|[^:@\s]+):(\d{1,5})", text)
        if found is None or not 0 < int(found[3]) < 65536:
            raise GliodistillError(
                "no address of a DICOM node",
                field="--send-to",
                got=text,
                expected="AET@host:port, e.g. ORTHANC@127.0.0.1:4242",
            )
        return cls(check_aet(found[1], "--send-to"), found[2].strip("[]"), int(found[3]))

    def __str__(self) -> str:
        return f"{self.aet}@{self.host}:{self.port}"


def check_aet(text: str, field: str) -> str:
    """Raise GliodistillError if a text is no AE title."""
    if not re.fullmatch(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,15})", text):
        raise GliodistillError(
            "no AE title", field=field, got=text, expected="1 to 16 characters, no backslash"
        )
    return text.rstrip()


@dataclass(frozen=True)
class Rule:
    """A study is taken only if some image of it has such a value.

    Attributes:
        field: one of :data:`FIELDS`.
        pattern: with ``*`` and ``?``; case does not count.
    """

    field: str
    pattern: str

    @classmethod
    def of(cls, text: str) -> "Rule":
        """Read ``field=pattern``.

        Raises:
            GliodistillError: another form, or an unknown field.
        """
        field, equals, pattern = text.partition("=")
        if not equals or not pattern or field not in FIELDS:
            raise GliodistillError(
                "no rule for studies",
                field="--only",
                got=text,
                expected=f"FIELD=PATTERN, e.g. body_part=*BRAIN*; fields: {', '.join(FIELDS)}",
            )
        return cls(field, pattern)

    def fits(self, values: Sequence[str]) -> bool:
        """Whether some value of the field fits."""
        return any(fnmatchcase(value.upper(), self.pattern.upper()) for value in values)


@dataclass(frozen=True)
class NodeSettings:
    """A node.

    Attributes:
        folder: of the store.
        aet, bind, port: its own title and address.
        peers: where results go by C-STORE.
        accept: AE titles that may call.
        dicomweb: address of a DICOMweb server to poll, and to store results on; None = none.
        poll_s: seconds between two polls.
        quiet_s: seconds without a new image after which a study is complete.
        rules: all must fit.
        model: that segments.
        threads: processor threads of the network.
        keep_s: seconds after which images and results of an ended study are removed.
        image_bytes: of one image.
        images: of one study.
    """

    folder: Path
    aet: str = "GLIODISTILL"
    bind: str = "127.0.0.1"
    port: int = 11112
    peers: tuple[Peer, ...] = ()
    accept: tuple[str, ...] = ()
    dicomweb: str | None = None
    poll_s: float = 30.0
    quiet_s: float = 60.0
    rules: tuple[Rule, ...] = ()
    model: str = "glioma"
    threads: int | None = None
    keep_s: float | None = None
    image_bytes: int = 1 << 30
    images: int = 20_000

    def check(self) -> None:
        """Refuse a node that nobody may call, or that has nowhere to send to.

        Raises:
            GliodistillError: what is missing.
        """
        check_aet(self.aet, "--aet")
        for title in self.accept:
            check_aet(title, "--accept")
        if not self.peers and self.dicomweb is None:
            raise GliodistillError(
                "nowhere to send results to",
                field="--send-to",
                expected="AET@host:port, or --dicomweb URL",
            )

    @property
    def callers(self) -> tuple[str, ...]:
        """AE titles that may call: those accepted, and those that results are sent to."""
        return tuple(dict.fromkeys([*self.accept, *(peer.aet for peer in self.peers)]))
