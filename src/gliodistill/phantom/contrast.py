"""Contrast of tissues, tumour and normal structures that resemble tumour, relative to white matter
(1).
"""

import numpy as np
from numpy.typing import NDArray

from gliodistill.phantom.anatomy import Anatomy
from gliodistill.phantom.fields import smooth_noise
from gliodistill.phantom.parameters import ContrastParameters
from gliodistill.phantom.tumour import Tumour
from gliodistill.studies.sequence import MRSequence

Array = NDArray[np.float32]
CHANNELS = {sequence: number for number, sequence in enumerate(MRSequence)}


def paint(
    parameters: ContrastParameters, anatomy: Anatomy, tumour: Tumour
) -> dict[MRSequence, Array]:
    """Noise-free images on the anatomy's grid, float32 on X Y Z, 0 outside the brain."""
    features = _normal_features(parameters, anatomy, tumour)
    inside = _tumour_features(parameters, anatomy, tumour)
    images = {}
    for sequence, channel in CHANNELS.items():
        image = _healthy(parameters, anatomy, features, sequence, channel)
        image[tumour.box] = _with_tumour(
            parameters, image[tumour.box], tumour, inside, sequence, channel
        )
        images[sequence] = np.where(
            anatomy.brain, np.maximum(image, np.float32(0.02)), np.float32(0)
        )
    return images


def _normal_features(
    parameters: ContrastParameters, anatomy: Anatomy, tumour: Tumour
) -> dict[str, Array]:
    """Maps in [0, 1] of distractors, and the textures."""
    grid, seed = anatomy.grid, parameters.seed
    coarse, fine = smooth_noise(seed, 9.0, grid), smooth_noise(seed + 1, 3.5, grid)
    other = smooth_noise(seed + 2, 9.0, grid)
    features = {"texture": 0.45 * coarse + 0.9 * fine}
    surface = np.clip(1 - anatomy.depth / 5, 0, 1)
    # Remains of dura and bone are dark in all sequences.
    features["shade"] = surface * np.clip(0.3 + 0.8 * smooth_noise(seed + 5, 6.0, grid), 0, 1)
    ventricle = anatomy.fluid * (anatomy.depth > 16) * (np.abs(anatomy.midline) < 40)
    # The set where two noises are both near zero is a curve: vessels, thickest in sulci and at the
    # surface.
    tube = np.sqrt(coarse**2 + other**2)
    near = np.clip(0.25 + 2 * anatomy.fluid + surface, 0, 1)
    width = np.float32(0.16 + 0.06 * min(grid.spacing, 3.0))
    sinus = (
        np.exp(-((anatomy.midline / 5) ** 2))
        * np.clip(1 - anatomy.depth / 7, 0, 1)
        * (np.asarray(grid.axes[1])[None, :, None] < 150)
    )
    features["vessels"] = np.maximum(np.clip(1.6 * (1 - tube / width), 0, 1) * near, sinus)
    features["meninges"] = surface * np.clip(0.5 + 0.8 * other, 0, 1)
    features["choroid"] = ventricle * np.clip(2 * fine - 1, 0, 1)
    if parameters.hyperintensities:
        from scipy import ndimage

        beside = ndimage.gaussian_filter(ventricle, 4.0 / grid.spacing)
        score = smooth_noise(seed + 3, 6.0, grid) + np.minimum(12 * beside, 1.6)
        amount = np.float32(3.0 - 1.3 * parameters.hyperintensities)
        features["hyperintensities"] = np.clip(2.5 * (score - amount), 0, 1) * anatomy.white
    if parameters.residue:
        features["residue"] = np.clip(1 - anatomy.depth / 4, 0, 1) * np.clip(
            1.5 * (smooth_noise(seed + 4, 12.0, grid) - 1.0), 0, 1
        )
    for name in ("vessels", "meninges", "choroid", "hyperintensities", "residue", "shade"):
        if name in features:
            features[name] = features[name].astype(np.float32)
            features[name][tumour.box][tumour.core] = 0
    return features


def _healthy(
    parameters: ContrastParameters,
    anatomy: Anatomy,
    features: dict[str, Array],
    sequence: MRSequence,
    channel: int,
) -> Array:
    means = {tissue: np.float32(values[channel]) for tissue, values in parameters.means.items()}
    image: Array = (
        anatomy.white * means["WM"] + anatomy.grey * means["GM"] + anatomy.fluid * means["CSF"]
    )
    # Cortex varies more than white matter: layers, iron, small vessels.
    image *= (
        1
        + np.float32(parameters.texture[channel])
        * (1 + anatomy.grey + 2 * anatomy.fluid)
        * features["texture"]
    )
    image *= 1 - np.float32(parameters.shade) * features["shade"]
    if sequence is MRSequence.T1CE:
        for name in ("vessels", "meninges", "choroid"):
            image += np.float32(getattr(parameters, name)) * features[name]
    elif sequence is MRSequence.T2:
        # Flowing blood gives no signal.
        image *= 1 - np.float32(0.5 * min(parameters.vessels, 1.0)) * features["vessels"]
    elif sequence is MRSequence.FLAIR:
        image += np.float32(0.35) * features["choroid"]
    if "hyperintensities" in features:
        toward = {
            MRSequence.T1: 0.6,
            MRSequence.T1CE: 0.6,
            MRSequence.T2: 0.75,
            MRSequence.FLAIR: 0.85,
        }[sequence]
        image += (means["ED"] - means["WM"]) * np.float32(toward) * features["hyperintensities"]
    if "residue" in features:
        share = {
            MRSequence.T1: 1.0,
            MRSequence.T1CE: 1.0,
            MRSequence.T2: 0.8,
            MRSequence.FLAIR: 0.6,
        }[sequence]
        image += np.float32(share * parameters.residue) * features["residue"]
    return image


def _tumour_features(
    parameters: ContrastParameters, anatomy: Anatomy, tumour: Tumour
) -> dict[str, Array]:
    """Slow variations inside the tumour, shared by the sequences: T2 rises as T1 falls."""
    part, seed = anatomy.grid.crop(tumour.box), parameters.seed
    slow, quick = smooth_noise(seed + 20, 8.0, part), smooth_noise(seed + 21, 3.5, part)
    mixed = (0.75 * slow + 0.65 * quick) * np.float32(parameters.variation)
    fluid = np.clip(np.float32(parameters.fluidity) + 0.3 * mixed, 0, 1)
    return {
        "water": mixed,
        "fluid": fluid,
        "uptake": smooth_noise(seed + 22, 5.0, part),
        "solid": 1 - anatomy.fluid[tumour.box],
    }


def _with_tumour(
    parameters: ContrastParameters,
    image: Array,
    tumour: Tumour,
    inside: dict[str, Array],
    sequence: MRSequence,
    channel: int,
) -> Array:
    means = {tissue: np.float32(values[channel]) for tissue, values in parameters.means.items()}
    # Oedema adds water to the tissue: a shift, so anatomy remains visible.
    shift = means["ED"] - means["WM"]
    strength = (1 - np.float32(parameters.oedema_fade) * tumour.distance) * np.clip(
        1 + 0.22 * inside["water"], 0.35, 1.8
    )
    swollen = image + shift * strength * inside["solid"]
    core = means["NET"] + (means["NCR"] - means["NET"]) * inside["fluid"]
    core = core + (means["NET"] - means["WM"]) * np.float32(0.18) * inside["water"]
    if sequence is MRSequence.T1 and parameters.bleed:
        core = core + np.float32(parameters.bleed) * np.clip(inside["uptake"] - 0.6, 0, 1)
    share = np.float32(parameters.infiltration) * (1 - inside["fluid"])
    core = (1 - share) * core + share * (image + (core - means["WM"]) * np.float32(0.7))
    rim = means["ET"] + (means["ET"] - means["WM"]) * np.float32(0.2) * inside["water"]
    if sequence is MRSequence.T1CE:
        # Uptake varies, but enhancing tumour stays brighter than before contrast.
        gain = np.clip(1 + 0.35 * np.float32(parameters.variation) * inside["uptake"], 0.45, 1.9)
        before = np.float32(parameters.means["ET"][CHANNELS[MRSequence.T1]])
        rim = before + (means["ET"] - before) * gain
    result = np.where(tumour.whole, swollen, image)
    result = np.where(tumour.core, core, result)
    result = np.where(tumour.enhancing, rim, result)
    for overlay in tumour.overlays:
        over = np.float32(overlay.means[channel]) * (1 + np.float32(0.05) * inside["uptake"])
        result = result + overlay.share * (over - result)
    return result.astype(np.float32)
