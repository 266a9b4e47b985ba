"""SimpleITK's optimiser of mutual information, behind NumPy arrays in RAS+."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.extras import load
from gliodistill.images.volume import Volume

if TYPE_CHECKING:
    import SimpleITK

Matrix = NDArray[np.float64]

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""RAS+ → LPS+, the coordinates of ITK, and back."""

BINS = 32
"""Of the joint histogram, along each axis."""

SEED = 20
"""Of the sampled voxels."""


def engine() -> Any:
    """SimpleITK.

    Raises:
        GliodistillError: it is not installed.
    """
    return load("SimpleITK", "registration")


def as_itk(volume: Volume) -> "SimpleITK.Image":
    """The same image for ITK; float32, or uint8 of a mask."""
    sitk = engine()
    kept = np.uint8 if volume.data.dtype.kind in "bu" else np.float32
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.data.T, dtype=kept))
    placed = LPS @ volume.affine
    image.SetSpacing(list(volume.spacing))
    image.SetOrigin(placed[:3, 3].tolist())
    image.SetDirection((placed[:3, :3] / np.array(volume.spacing)).ravel().tolist())
    return image


def rigid_transform(matrix: Matrix, centre: NDArray[np.float64]) -> "SimpleITK.Euler3DTransform":
    """ITK's form of a rigid ``matrix``, with rotations about ``centre`` (mm, RAS+)."""
    transform = engine().Euler3DTransform()
    placed, middle = LPS @ matrix @ LPS, LPS[:3, :3] @ centre
    transform.SetCenter(middle.tolist())
    transform.SetMatrix(placed[:3, :3].ravel().tolist(), 1e-6)
    transform.SetTranslation((placed[:3, :3] @ middle + placed[:3, 3] - middle).tolist())
    return transform


def matrix_of(transform: "SimpleITK.Transform") -> Matrix:
    """4×4 of any linear transform, RAS+."""
    corners = np.vstack([np.zeros(3), np.eye(3)])
    moved = np.array([transform.TransformPoint(point.tolist()) for point in corners])
    matrix = np.eye(4)
    matrix[:3, 3] = moved[0]
    matrix[:3, :3] = (moved[1:] - moved[0]).T
    return LPS @ matrix @ LPS


def optimise(
    fixed: Volume,
    moving: Volume,
    mask: NDArray[np.bool_],
    matrix: Matrix,
    centre: NDArray[np.float64],
    *,
    samples: int,
    steps: int,
    step_mm: float,
    least_mm: float,
    shrink: float,
    squares: bool = False,
) -> Matrix:
    """Follow the gradient of mutual information, or of squared differences, from ``matrix``.

    Args:
        fixed: float32.
        moving: float32.
        mask: of ``fixed``, where it is sampled.
        matrix: 4×4, fixed → moving, mm.
        centre: of rotations, mm.
        samples: number of voxels compared.
        steps: of the descent, at most.
        step_mm: first length of a step.
        least_mm: last length of a step.
        shrink: factor of the step where the gradient turns; near 1 is slow and exact.
        squares: for two images of one contrast, such as masks.

    Returns:
        The matrix; the one given where the images do not overlap enough to go on.
    """
    sitk = engine()
    transform = rigid_transform(matrix, centre)
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)  # the same sums on every machine; sequences run side by side
    if squares:
        method.SetMetricAsMeanSquares()
    else:
        method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricFixedMask(as_itk(Volume(mask, fixed.affine)))
    method.SetInterpolator(sitk.sitkLinear)
    # Gradients where they are needed, instead of smoothed ones of all the image: as exact, faster.
    method.SetMetricUseFixedImageGradientFilter(False)
    method.SetMetricUseMovingImageGradientFilter(False)
    # Of random voxels, the engine drops those outside the mask.
    share = samples / max(1, int(np.count_nonzero(mask)))
    if share < 1:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(share, SEED)
    method.SetOptimizerAsRegularStepGradientDescent(
        step_mm, least_mm, steps, relaxationFactor=shrink, gradientMagnitudeTolerance=1e-6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(as_itk(fixed), as_itk(moving))
    except RuntimeError:
        return matrix
    return matrix_of(transform)
