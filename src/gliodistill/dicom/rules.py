"""Rules on names and attributes that classify a series, each with its evidence as a text.

Rules that exclude come first (a localiser, diffusion, a map, a part of the head). The name follows,
read as file names are (:mod:`gliodistill.studies.naming`), then the weighting (TR, TE, TI).
Thresholds follow clinical protocols at 1.5 and 3 T; ours.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from gliodistill.dicom.candidate import Candidate
from gliodistill.studies.naming import NAMELESS, Reading, read_name
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.tokens import words_of
from gliodistill.studies.vocabulary import Kind

LEAST_SLICES, LEAST_MM = 9, 80.0
"""An image that covers less, along any axis, is a localiser or a part of the head."""

T1S = frozenset({MRSequence.T1, MRSequence.T1CE})

OTHER_NAMES = (
    (r"locali[sz]er|scout|survey|topogram|plan ?scan|3 ?plane|\bloc\b", "a localiser"),
    (r"\bep2d|\bepi\b|diff(?!er)|dwi|\badc|trace|tensor|\bdti|\bfa\b|\bb ?\d{3,4}\b", "diffusion"),
    (r"\bswi|swan|venbold|suscep|t2 ?\*|t2 ?star|hemo|\bqsm", "susceptibility or T2*"),
    (r"perf|\bdsc|\bdce|ktrans|\bcb[vf]|\bttp|\bmtt|tmax|\basl\b|pcasl|\bdyn", "perfusion"),
    (r"\btof|\bmr[av]\b|angio|\bveno|\bpc3d", "angiography"),
    (r"\bbold|fmri|resting|spectro|\bsvs|\bcsi\b|\bmrs\b|\bcest|\bapt", "function or spectroscopy"),
    (r"\bstir\b|\bciss|fiesta|double ?ir|\bdir\b", "another weighting"),
    (r"mini?p\b|\bmip|projection|collapsed", "a projection"),
    (r"\broi\b|mask|segmentation|\bseg\b|contour", "a drawn region"),
    (r"\bsub\b|subtr|\bdifference|\bmap\b|t[12] ?map|phase ?map|\bpha\b|field ?map", "a map"),
    (
        r"\bspine\b|\bspinal|lumbar|cervical|thoracic|\bneck|\borbit|pituitar|\biac\b",
        "another region",
    ),
    (r"screen ?sa?ve|report|summary|calib|b1 ?map|\bshim\b|smartprep|tracker", "no image"),
)
"""What names say of series that are none of the four: pattern → what it is."""

IMAGE_TYPES = {
    "LOCALIZER": "a localiser",
    "DIFFUSION": "diffusion",
    "ADC": "diffusion",
    "TRACEW": "diffusion",
    "TRACE": "diffusion",
    "FA": "diffusion",
    "PERFUSION": "perfusion",
    "CBF": "perfusion",
    "CBV": "perfusion",
    "RCBV": "perfusion",
    "MTT": "perfusion",
    "TTP": "perfusion",
    "MIP": "a projection",
    "PROJECTION IMAGE": "a projection",
    "MINIP": "a projection",
    "MNIP": "a projection",
    "MIN IP": "a projection",
    "SUBTRACTION": "a map",
    "SUB": "a map",
    "PHASE": "a map",
    "PHASE MAP": "a map",
    "P": "a map",
    "PHASE CONTRAST": "angiography",
    "FIELD_MAP": "a map",
    "FIELD MAP": "a map",
    "T1 MAP": "a map",
    "T2 MAP": "a map",
    "T2_STAR MAP": "a map",
    "QMAP": "a map",
    "SWI": "susceptibility or T2*",
    "SCREEN SAVE": "no image",
    "VXTL STATE": "no image",
    "MASK": "a drawn region",
}
"""Words of ImageType that say the same."""

CONTRASTS = {
    "DIFFUSION": "diffusion",
    "PERFUSION": "perfusion",
    "SPIN_TAGGING": "perfusion",
    "TAGGING": "another weighting",
    "FLOW_ENCODED": "angiography",
    "TIME_OF_FLIGHT": "angiography",
    "T2_STAR": "susceptibility or T2*",
    "STIR": "another weighting",
    "PROTON_DENSITY": "another weighting",
}
"""Of AcquisitionContrast (Enhanced MR)."""

WEIGHTINGS = {
    "T1": T1S,
    "T2": frozenset({MRSequence.T2, MRSequence.FLAIR}),
    "FLUID_ATTENUATED": frozenset({MRSequence.FLAIR}),
}
"""Of AcquisitionContrast, what says that it may be one of the four."""

NO_AGENT = (
    r"(?i)\s*(no|none|non|nein|n|0|without|ohne|sans|not applicable|n/?a|null|unknown|false)?\W*"
)


@dataclass
class Finding:
    """What is known of a candidate so far.

    Attributes:
        other: what it is, where it is none of the four sequences.
        open: the sequences it may be, where it may be one.
        evidence: why.
        doubts: what speaks against it.
        derived: whether it was made of another series (reformatted).
    """

    other: str | None = None
    open: frozenset[MRSequence] = frozenset(MRSequence)
    evidence: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    derived: bool = False

    @property
    def sequence(self) -> MRSequence | None:
        """The sequence, where one is left."""
        return next(iter(self.open)) if self.other is None and len(self.open) == 1 else None

    def exclude(self, what: str, why: str) -> None:
        """It is none of the four."""
        self.other, self.open = what, frozenset()
        self.evidence.append(why)


def apply_rules(candidate: Candidate) -> Finding:
    """Apply the rules."""
    found = Finding()
    for rule in (_is_volume, _by_image_type, _by_diffusion, _by_other_name, _covers_the_head):
        rule(candidate, found)
        if found.other is not None:
            return found
    named = _by_name(candidate, found)
    _by_weighting(candidate, found, named)
    if found.other is None and found.open <= T1S:
        _by_agent(candidate, found, named)
    return found


Rule = Callable[[Candidate, Finding], None]


def _is_volume(candidate: Candidate, found: Finding) -> None:
    if candidate.refused is not None:
        found.exclude("no volume", candidate.refused)


def _covers_the_head(candidate: Candidate, found: Finding) -> None:
    extent = candidate.extent
    shape = candidate.grid.shape if candidate.grid else (0,)
    if min(shape) < LEAST_SLICES or min(extent) < LEAST_MM:
        found.exclude(
            "a localiser or a part of the head",
            f"{min(shape)} slices, {min(extent):.0f} mm; a head takes {LEAST_SLICES} slices and"
            f" {LEAST_MM:.0f} mm",
        )


def _by_image_type(candidate: Candidate, found: Finding) -> None:
    told = candidate.attributes.get("ImageType", ())
    # The first two words are ORIGINAL or DERIVED, PRIMARY or SECONDARY.
    for word in told[2:]:
        if word in IMAGE_TYPES:
            found.exclude(IMAGE_TYPES[word], f"ImageType says {word}")
            return
    contrast = str(candidate.attributes.get("AcquisitionContrast", "")).upper()
    if contrast in CONTRASTS:
        found.exclude(CONTRASTS[contrast], f"AcquisitionContrast says {contrast}")
    if "SECONDARY" in told or "DERIVED" in told[:1]:
        found.derived = True
        found.evidence.append("ImageType says that it was made of another series")


def _by_diffusion(candidate: Candidate, found: Finding) -> None:
    told = candidate.attributes
    if told.get("BValue"):
        found.exclude("diffusion", f"b-value {told['BValue']:g}")
    elif "EP" in told.get("ScanningSequence", ()):
        found.exclude("diffusion, perfusion or function", "ScanningSequence says EP (echo-planar)")


def _by_other_name(candidate: Candidate, found: Finding) -> None:
    for name in candidate.names:
        plain = re.sub(r"[^a-z0-9*+]+", " ", name.casefold())
        for pattern, what in OTHER_NAMES:
            if match := re.search(pattern, plain):
                found.exclude(what, f"its name says {match[0].strip()!r}")
                return
        reading = read_name(name)
        if reading.sequence is None and not reading.undecided and reading.why != NAMELESS:
            found.exclude("none of the four", f"its name: {reading.why or 'a label map'}")
            return


def _by_name(candidate: Candidate, found: Finding) -> Reading | None:
    """The first name that says something."""
    for name in candidate.names:
        reading = read_name(name)
        told = frozenset({reading.sequence}) if reading.sequence else reading.candidates
        if not told:
            continue
        if reading.sequence is None:
            found.open &= told or found.open
            found.evidence.append(f"name {name!r}: {reading.why}")
        else:
            # "T1" alone does not say that there was no contrast agent.
            found.open &= T1S if reading.sequence is MRSequence.T1 else told
            found.evidence.append(f"name {name!r} says {reading.sequence}")
        return reading
    return None


def _by_weighting(candidate: Candidate, found: Finding, named: Reading | None) -> None:
    """TR, TE and TI, in ms."""
    contrast = str(candidate.attributes.get("AcquisitionContrast", "")).upper()
    if contrast in WEIGHTINGS and found.open & WEIGHTINGS[contrast]:
        found.open &= WEIGHTINGS[contrast]
        found.evidence.append(f"AcquisitionContrast says {contrast}")
    told, why, what = _weighting(candidate)
    if told is None and what is None:
        return
    if told is None:
        if named is None:
            found.exclude(what or "", why)
        else:
            found.doubts.append(f"{why}: {what}, although the name says otherwise")
    elif left := found.open & told:
        found.open = left
        found.evidence.append(why)
    else:
        found.doubts.append(f"{why}, although the name says otherwise")


def _weighting(candidate: Candidate) -> tuple[frozenset[MRSequence] | None, str, str | None]:
    """The sequences it may be, why, and what it is if none."""
    told = candidate.attributes
    tr, te = told.get("RepetitionTime"), told.get("EchoTime")
    ti = told.get("InversionTime") or 0.0
    if not tr or not te:
        return None, "", None
    kinds = told.get("ScanningSequence", ())
    said = f"TR {tr:.0f}, TE {te:.3g}" + (f", TI {ti:.0f} ms" if ti else " ms")
    t2, flair = frozenset({MRSequence.T2}), frozenset({MRSequence.FLAIR})
    gradient = "GR" in kinds
    if ti:
        if te >= 60 and ti >= 1400:
            return flair, f"{said}: T2 weighting with fluid suppressed", None
        if ti < 300 and te < 150:
            return None, said, "fat suppressed by inversion (STIR)"
        if te < 60:
            return T1S, f"{said}: T1 weighting after an inversion", None
        return None, "", None
    if gradient:
        if te > 12:
            return None, said, "susceptibility or T2*"
        return T1S, f"{said}, gradient echo: T1 weighting", None
    if te <= 35 and tr <= 1400:
        return T1S, f"{said}: T1 weighting", None
    if te >= 60 and tr >= 1800:
        if "IR" in kinds:
            return t2 | flair, f"{said}, after an inversion of unknown time", None
        return t2, f"{said}: T2 weighting", None
    if te < 60 and tr >= 1800 and "IR" not in kinds:
        return None, said, "another weighting (proton density)"
    return None, "", None


def _by_agent(candidate: Candidate, found: Finding, named: Reading | None) -> None:
    """T1 or T1CE."""
    agent = str(candidate.attributes.get("ContrastBolusAgent", ""))
    given = bool(agent) and not re.fullmatch(NO_AGENT, agent)
    volume = candidate.attributes.get("ContrastBolusVolume")
    given = given or bool(volume)
    with_agent = named is not None and named.sequence is MRSequence.T1CE
    kinds = {word.kind for name in candidate.names[:1] for word in words_of(name)}
    without = bool(kinds & {Kind.NATIVE, Kind.PRE, Kind.NOT}) and not with_agent
    if given:
        found.evidence.append("a contrast agent is recorded")
    if without:
        found.evidence.append("its name says that there was no contrast agent")
    if given and without:
        found.doubts.append("a contrast agent is recorded, although the name says there was none")
    elif given or with_agent:
        found.open = frozenset({MRSequence.T1CE})
    elif without:
        found.open = frozenset({MRSequence.T1})
    else:
        found.open = T1S
