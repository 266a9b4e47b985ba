"""What one run of the server was started with."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from gliodistill.documents.json_text import parse_json
from gliodistill.documents.reading import Refusal
from gliodistill.errors import OutputError

_NO_SETTINGS = Refusal(OutputError, "not the settings of a worker", field="settings")


@dataclass(frozen=True)
class WorkSettings:
    """What a worker process needs to know; it travels as JSON on its command line.

    Attributes:
        folder: of the store.
        models: names of shipped models or folders of packages; the first is the default.
        threads: processor threads of the network; None = all cores.
        deidentify: whether SEG and SR leave out who the patient is.
    """

    folder: str
    models: tuple[str, ...] = ("glioma",)
    threads: int | None = None
    deidentify: bool = False

    @property
    def root(self) -> Path:
        """The folder of the store."""
        return Path(self.folder)

    def as_json(self) -> str:
        """As :meth:`of_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, text: str) -> "WorkSettings":
        """Read from :meth:`as_json`."""
        values = parse_json(text, _NO_SETTINGS)
        return cls(**{**values, "models": tuple(values["models"])})
