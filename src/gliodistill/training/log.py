"""The log of a run: one line of JSON per step, and TensorBoard if wanted."""

import json
from pathlib import Path
from typing import Any

from gliodistill.documents import Fields, Refusal, read_json_lines
from gliodistill.errors import CheckpointError, GliodistillError
from gliodistill.files import write_text, writing

LOG = "log.jsonl"
NO_LOG = Refusal(CheckpointError, "not the log of a run", "remove it, or train the run again")


class Log:
    """``log.jsonl`` of a run.

    Args:
        folder: of the run.
        step: lines after it are dropped, because these steps are repeated.
        tensorboard: whether to write for TensorBoard too.

    Raises:
        OutputError: the folder cannot be written.
        GliodistillError: TensorBoard is wanted and not installed.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool) -> None:
        self.path = folder / LOG
        lines = read_json_lines(self.path, NO_LOG) if self.path.exists() else []
        kept = [line for line in lines if Fields(line, NO_LOG.of(self.path)).whole("step") <= step]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self._board = _tensorboard(folder, step) if tensorboard else None
        with writing(self.path):
            self._file = self.path.open("a", buffering=1)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def write(self, line: dict[str, Any]) -> None:
        """Write the line of one step."""
        with writing(self.path):
            self._file.write(json.dumps(line) + "\n")
        if self._board is not None:
            for group in ("loss", "dice"):
                for name, value in line.get(group, {}).items():
                    self._board.add_scalar(f"{group}/{name}", value, line["step"])
            self._board.add_scalar("rate", line["rate"], line["step"])


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise GliodistillError(
            "TensorBoard is not installed",
            field="training.tensorboard",
            hint="pip install tensorboard, or leave it off",
        ) from error
    return SummaryWriter(folder / "tensorboard", purge_step=step + 1)
