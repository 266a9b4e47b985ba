"""Other engines on the same task: rigid, mutual information, the same start, the fixed brain's mask.

``picsl-greedy`` and ``itk-elastix`` are installed by hand; neither is a dependency.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.alignment.cases import Case
from gliodistill.alignment.engine import LPS, as_itk, engine, matrix_of
from gliodistill.alignment.registration import register
from gliodistill.images.volume import Volume

Matrix = NDArray[np.float64]
PACKAGES = {
    "SimpleITK": {"version": "2.5.7", "wheels_mb": 52.6},
    "greedy": {"version": "1.4.0.3", "wheels_mb": 18.8 + 52.6},
    "elastix": {"version": "0.25.4", "wheels_mb": 21.6 + 278.9},
}
"""With what they need: greedy takes its images from SimpleITK, itk-elastix needs six of ITK's."""
RIM = 6.0
"""Around the brain, mm."""


def start_of(case: Case) -> Matrix:
    """Turned and moved back but for 5° and 5 mm: what a search would find."""
    from benchmarks.alignment.cases import rigid

    where = np.argwhere(case.fixed_mask)[::97]
    middle = (case.fixed.affine @ [*where.mean(axis=0), 1.0])[:3]
    return case.true @ rigid(np.random.default_rng(len(where)), 5.0, 5.0, middle)


def simpleitk(case: Case, threads: int) -> Matrix:
    """What gliodistill uses, with its search for a start."""
    return register(case.fixed, case.moving, case.fixed_mask, case.moving_mask).matrix


def greedy(case: Case, threads: int) -> Matrix:
    """Greedy, as its manual has it for rigid registration across contrasts."""
    from picsl_greedy import Greedy3D

    sitk, start = engine(), start_of(case)
    moving = Volume(case.moving.data, np.linalg.inv(start) @ case.moving.affine)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.mat"
        Greedy3D().execute(
            f"-d 3 -a -dof 6 -i fixed moving -gm mask -ia-identity -m NMI -n 100x50x20"
            f" -threads {threads} -o {out}",
            fixed=as_itk(case.fixed),
            moving=as_itk(moving),
            mask=sitk.Cast(as_itk(Volume(near(case), case.fixed.affine)), sitk.sitkFloat32),
        )
        found = np.loadtxt(out)  # RAS+, fixed → moving
    return start @ found


def elastix(case: Case, threads: int) -> Matrix:
    """Elastix with its default rigid parameters."""
    import itk

    start = start_of(case)
    moving = Volume(case.moving.data, np.linalg.inv(start) @ case.moving.affine)
    parameters = itk.ParameterObject.New()
    parameters.AddParameterMap(parameters.GetDefaultParameterMap("rigid", 3))
    parameters.SetParameter("AutomaticTransformInitialization", "false")
    parameters.SetParameter("WriteResultImage", "false")
    _, found = itk.elastix_registration_method(
        _itk(case.fixed),
        _itk(moving),
        fixed_mask=_itk(Volume(near(case).astype(np.uint8), case.fixed.affine)),
        parameter_object=parameters,
        number_of_threads=threads,
        log_to_console=False,
    )
    told = found.GetParameterMap(0)
    transform = engine().Euler3DTransform()
    transform.SetCenter([float(x) for x in told["CenterOfRotationPoint"]])
    transform.SetParameters([float(x) for x in told["TransformParameters"]])
    return start @ matrix_of(transform)


def near(case: Case) -> NDArray[np.bool_]:
    """The fixed brain and a rim around it."""
    from scipy import ndimage

    far = ndimage.distance_transform_edt(~case.fixed_mask, sampling=case.fixed.spacing)
    return far <= RIM


def _itk(volume: Volume):
    import itk

    kind = np.uint8 if volume.data.dtype.kind in "bu" else np.float32
    image = itk.image_from_array(np.ascontiguousarray(volume.data.T, dtype=kind))
    placed = LPS @ volume.affine
    image.SetSpacing(list(volume.spacing))
    image.SetOrigin(placed[:3, 3].tolist())
    image.SetDirection(itk.matrix_from_array(placed[:3, :3] / np.array(volume.spacing)))
    return image


ENGINES: dict[str, Callable[[Case, int], Matrix]] = {
    "SimpleITK": simpleitk,
    "greedy": greedy,
    "elastix": elastix,
}
