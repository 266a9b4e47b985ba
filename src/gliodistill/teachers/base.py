"""The interface of teachers that are no run of the recipe: a study in, probabilities out."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import RecipeError, StudyError
from gliodistill.studies.records import StudyRecord
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study

if TYPE_CHECKING:
    from gliodistill.networks import Network
    from gliodistill.teachers.channels import Channels


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a teacher predicts for a study.

    Attributes:
        probability: of WT, TC, ET (float32, 3 X Y Z, in [0, 1]) on the study's own grid.
        hard: whether it comes from a label map, so that it says nothing of the teacher's doubt.
    """

    probability: NDArray[np.float32]
    hard: bool = False

    def __post_init__(self) -> None:
        if not np.isfinite(self.probability).all():
            raise StudyError(
                "the teacher predicts what is no probability",
                got="NaN or infinite values",
                expected="0 to 1",
                hint="its weights, or these images, may be damaged",
            )


@dataclass(frozen=True, eq=False)
class View:
    """A study as a teacher's network sees it.

    Attributes:
        image: float32 C and three axes of its own, normalised, at its voxel size; 0 beyond it.
        affine: voxel → RAS+ mm.
    """

    image: NDArray[np.float32]
    affine: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Live:
    """What of a teacher runs on patches.

    Attributes:
        network: in evaluation mode; takes patches of a :class:`View` in its axes.
        outputs: meaning of its output channels.
        shares: whether these are probabilities and not logits.
    """

    network: "Network"
    outputs: "Channels"
    shares: bool = False


class Teacher(ABC):
    """A trained model of any origin, or what it predicted.

    The constructor of a kind takes its source, the text after the kind's name in a recipe, and its
    options as annotated keywords with defaults. A teacher sees the study as its files hold it, and
    prepares it by itself: the student's preparation does not change what the teacher sees.

    Attributes:
        runs: whether it can run on patches during training (:meth:`see`, :meth:`live`); else it
            predicts each study once.
        has_stages: whether the features of its network can be read.
        sequences: those it needs; empty if it does not read images.
        spacing: voxel size it was trained at, mm along X, Y, Z, or None; the planner starts from
            it.
        patch: sides of its patches along X, Y, Z, or None.

    Example:
        >>> import numpy as np
        >>> from gliodistill.teachers import Prediction, Teacher, register_teacher
        >>> @register_teacher("nothing_example")
        ... class Nothing(Teacher):
        ...     '''Finds no tumour.'''
        ...     def __init__(self, source, *, certainty: float = 1.0):
        ...         self.certainty = certainty
        ...     def predict(self, study):
        ...         shape = (3, *study.grid.shape)
        ...         return Prediction(np.full(shape, 1 - self.certainty, dtype=np.float32))
        ...     def facts(self, id):
        ...         return {"certainty": self.certainty}
    """

    runs: ClassVar[bool] = False
    has_stages: ClassVar[bool] = False
    sequences: tuple[MRSequence, ...] = ()
    spacing: tuple[float, float, float] | None = None
    patch: tuple[int, int, int] | None = None

    @classmethod
    def is_at(cls, path: Path) -> bool:
        """Whether a file or folder is one of this kind beyond doubt, so that the path alone names
        the teacher on the command line. Nothing is opened.
        """
        return False

    def as_network(self) -> "Network | None":
        """Its network in our interface, for its costs and its stages; None if it has none that is
        known.
        """
        return None

    def live(self) -> Live:
        """Its network, to run on patches.

        Raises:
            RecipeError: it cannot, with these options.
        """
        raise RecipeError(
            "the teacher predicts whole studies only", field="live", got=True, expected="false"
        )

    def see(self, study: Study) -> View:
        """A study as its network sees it.

        Raises:
            StudyError: the images are empty.
        """
        raise NotImplementedError  # where it ``runs``

    @abstractmethod
    def predict(self, study: Study) -> Prediction:
        """Predict one study.

        Args:
            study: as read, neither cropped nor normalised.

        Raises:
            StudyError: it has no prediction for it, or lacks a sequence.
        """

    def check(self, record: StudyRecord) -> None:
        """Check, before any work, that it can predict a study.

        Raises:
            StudyError: it cannot: the study lacks a sequence, or no output of it is stored.
        """
        if absent := [sequence for sequence in self.sequences if sequence not in record.images]:
            raise StudyError(
                "study lacks a sequence that the teacher needs",
                file=record.id,
                got=", ".join(record.images),
                expected=", ".join(self.sequences),
                hint=f"leave the study out: it has no {', '.join(absent)}",
            )

    @abstractmethod
    def facts(self, id: str) -> dict[str, Any]:
        """What the prediction for the study ``id`` depends on, as JSON: options, digests of files.
        Equal facts give equal predictions.
        """
