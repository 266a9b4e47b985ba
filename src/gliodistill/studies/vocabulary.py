"""The vocabulary of file names, as tools, scanners and challenges write them.

:mod:`~gliodistill.studies.naming` has the rules for combinations; docs/layouts.md shows both as
tables.
"""

from enum import StrEnum


class Kind(StrEnum):
    """The kind of a word."""

    T1 = "T1"
    T2 = "T2"
    FLAIR = "FLAIR"
    CONTRAST = "contrast agent"
    POST = "after"
    PRE = "before"
    NOT = "without"
    NATIVE = "no contrast agent"
    SUSPECT = "perhaps contrast"
    INVERSION = "inversion"
    STAR = "T2*"
    LINK = "registered to"
    MOVED = "registered"
    OTHER = "another image"
    LABEL = "label map"
    DERIVED = "derived"
    ANATOMY = "anatomy"
    NEUTRAL = "acquisition or processing"
    NAME = "the study's name"


WORDS: dict[Kind, str] = {
    Kind.T1: "t1 t1w t1wi",
    Kind.T2: "t2 t2w t2wi",
    Kind.FLAIR: "flair flairw fla fl t2f darkfluid",
    Kind.CONTRAST: (
        "ce cm cp gd gdw gad gado gadolinium gadovist gadavist gadobutrol dotarem clariscan artirem"
        " gadoterate gadoterat magnevist gadopentetate gadodiamide omniscan multihance gadobenate"
        " prohance gadoteridol optimark primovist eovist gadoxetate vueway elucirem gadopiclenol"
        " dtpa gddtpa km mkm kontrast kontrastmittel contrast contraste contrasted enhanced"
        " enhancement postcontrast postcon postgd postgad postgado postce postc postkm injected"
        " cplus ceplus enh inj gddota dota mdc pdc civ postinj postinjection"
    ),
    Kind.POST: "post after nach",
    Kind.PRE: "pre before vor",
    Kind.NOT: "no non not none without wo ohne sans sin senza",
    Kind.NATIVE: (
        "native nativ plain unenhanced nonenhanced precontrast precon pregd pregad pregado prekm"
        " prece noncontrast nocontrast noncon nongd nongad nogd nogad noce okm"
    ),
    Kind.INVERSION: "ir tir tirm stir dir inversion",
    Kind.STAR: "star gre hemo haemo medic fl2d ffe",
    Kind.LINK: "to in into onto on",
    Kind.MOVED: (
        "reg registered registration coreg coregistered aligned warped resampled resliced rigid"
        " affine syn r w rr"
    ),
    Kind.OTHER: (
        "dwi adc swi swan pd pdw pdwi mt mtc mtr mra mrv tof asl dti dsc dce pwi cbf cbv mtt bold"
        " fmri qsm mrs"
        " ct ct1 ct1w ct1wi cta pet spect t2star t2starw t2s unit1"
    ),
    Kind.LABEL: "seg segm segmentation label labels truth gt groundtruth gtv",
    Kind.DERIVED: (
        "mask masks brainmask betmask prob probability pve pveseg map t1map t2map mapping mixeltype"
        " aseg aparc warpfield field biasfield jacobian deformation subtraction difference diff"
    ),
    Kind.ANATOMY: "tissue tissues parenchyma csf gm wm ventricles skull head",
    Kind.NEUTRAL: (
        "weighted wi acq desc rec with avec mit met con ax axial tra trans transversal cor"
        " coronal sag sagittal obl oblique 2d 3d fs"
        " fatsat fat sat se tse fse mprage mpr mp2rage spgr fspgr bravo vibe space cube vista flash"
        " fl3d tfe tfl thrive iso isotropic blade propeller brain bet stripped skullstripped"
        " masked deskulled hdbet synthstrip n4 n3 bfc bias biascorrected corrected corr norm"
        " normalised"
        " normalized zscore denoised defaced r2s reoriented mni mni152 sri sri24 template atlas"
    ),
}
"""Kind → its words, in small letters, without separators. Other words are part of the study's name.
"""

KIND_OF: dict[str, Kind] = {word: kind for kind, words in WORDS.items() for word in words.split()}

FUSED: dict[str, tuple[str, ...]] = {
    "t1c": ("t1", "c"),
    "t1wc": ("t1w", "c"),
    "t1n": ("t1", "n"),
    "t1wn": ("t1w", "n"),
}
"""T1 and one letter: with contrast, native."""

TIME = (
    r"t[0-9]|tp\d*|time\d*|timepoint\d*|visit\d*|ses\d*|session\d*|week\d*|month\d*|day\d*"
    r"|baseline|followup|fu\d*|preop|postop|pre|post"
)
"""A word for a point in time: studies whose names differ only in these are of one patient."""

CONTRAST_LIKE = r"gad.*|contr.*|kontr.*|enh.*|inject.*|pc|iv"
"""Words that may mean contrast and are on no list: the user is asked."""

NEUTRAL_LIKE = r"\d+(mm|t)|mni.*|sri24.*"
"""Voxel sizes, field strengths and templates."""

T1_LIKE = ("mprage", "mpr", "spgr", "fspgr", "bravo", "mp2rage")
"""Acquisitions of a T1, which do not determine whether it is after contrast."""
