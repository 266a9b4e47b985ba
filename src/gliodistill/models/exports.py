"""The exports of a package, and the parity of each with the trained network."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from gliodistill.checks import check_keys, checked
from gliodistill.errors import PackageError

FILES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("openvino", "float16"): ("model.xml", "model.bin"),
    ("openvino", "int8"): ("model-int8.xml", "model-int8.bin"),
    ("onnx", "float16"): ("model.onnx",),
    ("onnx", "shared-float16"): ("model.onnx", "model.bin"),
    ("onnx", "float32"): ("model.onnx",),
    ("torch", "float32"): ("model.safetensors",),
}
"""Runtime and how the weights are stored → the files of that export; a runtime opens the first.

Shared weights lie in the file of the OpenVINO graph. ONNX with float32 weights is read but no
longer written.
"""


@dataclass(frozen=True)
class Agreement:
    """How the logits of an export compare with those of the trained network on some images.

    Attributes:
        images: their number.
        max_abs_difference: largest difference of any logit.
        max_abs_logit: largest logit of the network, for scale.
        dice: region → Dice between both segmentations, voxels of all images counted together.
    """

    images: int
    max_abs_difference: float
    max_abs_logit: float
    dice: Mapping[str, float]

    @classmethod
    def from_dict(cls, values: object, where: str) -> "Agreement":
        """From JSON, strictly."""
        v = check_keys(values, [f.name for f in fields(cls)], where)
        return checked(
            where,
            lambda: cls(
                int(v["images"]),
                float(v["max_abs_difference"]),
                float(v["max_abs_logit"]),
                {str(region): float(dice) for region, dice in v["dice"].items()},
            ),
        )


@dataclass(frozen=True)
class Calibration:
    """The calibration data of an int8 graph.

    Attributes:
        studies: training studies, none of which is used for parity.
        patches: taken from them.
        float_layers: convolutions left in float at either end of the network.
    """

    studies: int
    patches: int
    float_layers: int

    @classmethod
    def from_dict(cls, values: object, where: str) -> "Calibration":
        """From JSON, strictly."""
        v = check_keys(values, [f.name for f in fields(cls)], where)
        return checked(where, lambda: cls(**{key: int(value) for key, value in v.items()}))


@dataclass(frozen=True)
class Export:
    """One export of the network in a package.

    Attributes:
        runtime: what runs it: ``"openvino"``, ``"onnx"`` or ``"torch"``.
        weights: how it stores them: ``"float32"``, ``"float16"``, ``"shared-float16"`` or
            ``"int8"``.
        random: parity on noise images.
        studies: parity on prepared training studies; None if none were available.
        calibration: of an int8 graph.

    Raises:
        PackageError: no such runtime with such weights.
    """

    runtime: str
    weights: str
    random: Agreement
    studies: Agreement | None = None
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if (self.runtime, self.weights) not in FILES:
            known = ", ".join(f"{runtime} {weights}" for runtime, weights in FILES)
            raise PackageError(
                "unknown export",
                field="exports",
                got=f"{self.runtime} {self.weights}",
                expected=known,
            )

    @property
    def files(self) -> tuple[str, ...]:
        """Its files in the package; a runtime opens the first."""
        return FILES[self.runtime, self.weights]

    @property
    def max_abs_difference(self) -> float:
        """Largest difference of any logit on any image."""
        return max(
            agreement.max_abs_difference for agreement in (self.random, self.studies) if agreement
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: object, where: str) -> "Export":
        """From JSON, strictly.

        Raises:
            PackageError: a key missing or unknown, or a value of another type; it is named.
        """
        v = check_keys(values, [f.name for f in fields(cls)], where)
        return cls(
            str(v["runtime"]),
            str(v["weights"]),
            Agreement.from_dict(v["random"], f"{where}.random"),
            None if v["studies"] is None else Agreement.from_dict(v["studies"], f"{where}.studies"),
            (
                None
                if v["calibration"] is None
                else Calibration.from_dict(v["calibration"], f"{where}.calibration")
            ),
        )
