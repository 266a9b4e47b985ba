"""What a result was made by and from, to be said in every object."""

from collections.abc import Sequence
from dataclasses import dataclass

NOTICE = "Research use, not a medical device"
MANUFACTURER = "gliodistill"


@dataclass(frozen=True)
class Provenance:
    """Facts of a result.

    Attributes:
        model: name of the model.
        version: of gliodistill.
        fingerprint: SHA-256 of the model package.
        used: sequences that the model was given.
        absent: sequences that it takes and the study lacks.
        notes: further sentences, e.g. reasons to doubt the result.
        corrected: whether a person changed what the model made.
    """

    model: str
    version: str
    fingerprint: str = ""
    used: Sequence[str] = ()
    absent: Sequence[str] = ()
    notes: Sequence[str] = ()
    corrected: bool = False

    @property
    def algorithm(self) -> str:
        """How the segments were made, in the term of DICOM."""
        return "SEMIAUTOMATIC" if self.corrected else "AUTOMATIC"

    def sentences(self) -> list[str]:
        """For people to read."""
        package = f" (package {self.fingerprint[:12]})" if self.fingerprint else ""
        said = [
            f"{NOTICE}.",
            f"Made by gliodistill {self.version} with the model {self.model}{package}.",
        ]
        if self.corrected:
            said.append("Corrected by hand.")
        if self.used:
            said.append(f"Sequences used: {', '.join(self.used)}.")
        if self.used or self.absent:
            said.append(f"Sequences absent: {', '.join(self.absent) or 'none'}.")
        return [*said, *self.notes]
