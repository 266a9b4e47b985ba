"""PyTorch: the reference runtime, and the one for CUDA. The only file of the package that imports
torch.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from gliodistill.models.levels_input import LevelsInput
from gliodistill.models.package import ModelPackage
from gliodistill.models.weights import load_network


class TorchRuntime:
    """The network built from its description, with the package's weights, in float32.

    Args:
        package: an opened package.
        threads: processor threads of the whole process; None leaves them.
        device: ``"cpu"`` or ``"cuda"``.

    Raises:
        PackageError: the package holds no torch export, the network is not known here, or the
        weights do not fit it.
    """

    def __init__(
        self, package: ModelPackage, *, threads: int | None = None, device: str = "cpu"
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        network = load_network(
            package.folder / package.find("torch").files[0], package.spec.network
        )
        self.device = torch.device(device)
        ready = LevelsInput(network).eval().to(self.device)
        self._network = ready.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Levels (uint8, B C X Y Z) → logits (float32, B K X Y Z)."""
        with torch.inference_mode():
            tensor = torch.from_numpy(np.ascontiguousarray(image)).to(self.device)
            logits: NDArray[np.float32] = self._network(tensor).float().contiguous().cpu().numpy()
        return logits
