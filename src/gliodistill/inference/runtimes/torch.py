"""PyTorch: the reference runtime, and the one for CUDA. The only file of the package that
imports torch.
"""

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from gliodistill.errors import PackageError
from gliodistill.models.levels_input import LevelsInput
from gliodistill.models.package import ModelPackage
from gliodistill.models.weights import load_network


class TorchRuntime:
    """The network built from its description, with the package's weights, in float32.

    Args:
        package: an opened package.
        threads: processor threads of the whole process; None leaves them.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"``: CUDA where there is a GPU.

    Attributes:
        device: ``"cpu"`` or ``"cuda"``.

    Raises:
        PackageError: the package holds no torch export, the network is not known here, the weights
            do not fit it, or there is no such device.
    """

    def __init__(
        self, package: ModelPackage, *, threads: int | None = None, device: str = "cpu"
    ) -> None:
        available = torch.cuda.is_available()
        if device == "cuda" and not available:
            raise PackageError(
                "no GPU that torch can use",
                field="device",
                got=device,
                expected="auto or cpu on this machine",
                hint="install a torch built for CUDA and a driver, or use --device cpu",
            )
        self.device = "cuda" if available and device != "cpu" else "cpu"
        if threads is not None:
            torch.set_num_threads(threads)
        network = load_network(
            package.folder / package.find("torch").files[0], package.spec.network
        )
        ready = LevelsInput(network).eval().to(self.device)
        self._network = ready.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Levels (uint8, B C X Y Z) → logits (float32, B K X Y Z)."""
        try:
            with (
                torch.inference_mode(),
                _full_precision() if self.device == "cuda" else nullcontext(),
            ):
                tensor = torch.from_numpy(np.ascontiguousarray(image)).to(self.device)
                logits = self._network(tensor).float().contiguous().cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise PackageError(
                "GPU out of memory",
                field="memory",
                got=f"a pass over {' × '.join(map(str, image.shape[2:]))} voxels",
                hint="pass windows with a smaller --memory, or use --device cpu",
            ) from error
        return np.asarray(logits, dtype=np.float32)


def _full_precision() -> AbstractContextManager[None]:
    """Convolutions in float32 on a GPU too: TF32 would keep 10 bits of each factor."""
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    return flags
