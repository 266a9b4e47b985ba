"""What names of files mean: by the rules of docs/layouts.md, and a question where they leave two
readings.
"""

import pytest

from gliodistill.studies.naming import read_name
from gliodistill.studies.sequence import SPELLINGS, MRSequence

NAMES = {
    "T1": """
        t1 t1w T1n T1wi T1_native T1-weighted t1_pre T1_mprage t1_mprage_sag wT1 r_T1 mT1
        T1_brain T1_bet_N4 AX_T1_FSE T1_fl2d_tra T1_to_MNI T1_to_FLAIR T1_reg_to_FLAIR t12t2
        T1_in_SRI24 T1_precontrast T1_no_contrast T1_without_Gd T1_w_o_KM T1_oKM T1_ohne_KM
        T1_noncontrast T1_unenhanced T1w_t1 T1w_t2 preop_T1 pre_T1 set1_T1 pat_1_T1 space-MNI_T1w
        desc-brain_T1w acq-mprage_T1w 3D_T1_TFE_1mm T1_3T Müller_T1 T1_space in_house_T1
        PD_004_T1 T1_pre_contrast""",
    "T1CE": """
        t1ce t1c T1gd t1wgd t1gdw t1wce t1km cet1 cet1w gdt1w T1_C T1_CE T1_Gd T1_Gad AX_T1_FS_POST
        T1_POST t1_mprage_sag_KM T1_mit_KM T1_mKM T1_+C T1+C T1_C+ T1W+Gd T1W_3D_TFE_GADO T1_gadovist
        T1_dotarem T1_Magnevist T1_gadolinium T1_contrast T1_postcontrast T1_post_contrast T1_post_Gd
        Post_Gd_T1_Ax AxT1PostGd T1_enhanced T1_nach_KM T1_MDC acq-postgad_T1w ce-gadolinium_T1w
        T1CE_t1 T1CE_t2 pre_t1ce post_t1ce T1_gd_pre t1ce_to_t1 t1ce2t1 t1c2t1 rT1c AxT1c T1cBrain T1c_bias brain_t1c
        T1_SE_Gadolinium_axial BraTS-GLI-00001-000-t1c""",
    "T2": """
        t2 t2w T2wi T2-weighted t2_tse_tra rT2 r_T2 T2_in_T1 T2_2_T1 T2_to_t1ce T2_N4 T2_SPACE
        post_t2 T2_t2 AX_T2_FSE acq-tse_T2w IR_003_T2""",
    "FLAIR": """
        flair FLAIR fla fl t2f t2flair t2wflair T2_FLAIR T2_SPACE_FLAIR FLAIR_T2
        t2_space_dark-fluid_sag t2_tirm_tra_dark-fluid darkfluid FLAIR_N4 flair_to_t1ce flair2t1
        FLAIR_in_T1 FLAIR_t1 FLAIR_t2 flair_t2 FLAIR_brain rFLAIR space-T1w_FLAIR pre_flair
        FLAIR3 AX_FLAIR_reg""",
    "label map": "seg segm Segmentation label truth gt tumor_seg seg_manual",
    "T1 or T2": "T1_T2 t2_t1 T1_t2 T1_reg_T2",
    "T1 or FLAIR": "t1_reg_flair T1_FLAIR FLAIR_T1 t1_tirm_tra_dark-fluid",
    "T1 or T1CE": """
        T1_pre_Gd pre_gd_t1 preGdT1 post_T1 T1_001_Gd Gd_trial_T1 T1_gadxyz T1_C- T1_vor_KM MPRAGE
        MPRAGE_post FSPGR T1_ce_none T1_native_Gd T1_pre_post T1_PC
        T1_FSGD AX_T1_mpragepost""",
    "T1CE or FLAIR": "T1CE_FLAIR",
    "T1CE, perhaps": "CT1 CT1_r2s_bet_reg",
    "T1, perhaps": "to_T1 in_T1 T1_DWI PD_T1 T1_IR T1_seg seg_T1",
    "T2, perhaps": "T2_STIR t2_tirm_cor T2_Gd T2_ADC",
    "FLAIR, perhaps": "FLAIR_Gd ce-gadolinium_FLAIR flair_seg",
    "FLAIR or T2": "T2_reg_FLAIR",
    "none": """
        T1_mask brain_mask T1_brain_mask brainmask tumorMask MASK T1_brain_pve_0 c1T1 wc2T1 y_T1
        T1map T2_map T2* T2star t2_fl2d_tra_hemo T2_gre SWI DWI ADC PD MRA ADC_to_T1 CT aseg
        brain_segmentation notes test1 t3 t1x DSC b1000 FLAIR_prob""",
}
PAIRS = [(name, meaning) for meaning, names in NAMES.items() for name in names.split()]


def meaning_of(name: str) -> str:
    """As the table has it."""
    reading = read_name(name)
    if reading.label:
        return "label map"
    if reading.undecided:
        ordered = [str(sequence) for sequence in MRSequence if sequence in reading.candidates]
        if set(ordered) == {"T2", "FLAIR"}:
            return "FLAIR or T2"
        return " or ".join(ordered) if len(ordered) > 1 else f"{ordered[0]}, perhaps"
    return str(reading.sequence or "none")


@pytest.mark.parametrize(("name", "meaning"), PAIRS, ids=[name for name, _ in PAIRS])
def test_names(name, meaning):
    assert meaning_of(name) == meaning
    assert bool(read_name(name).why) == (meaning not in {*map(str, MRSequence), "label map"})


def test_there_are_many_and_each_once():
    assert len(PAIRS) == len(set(PAIRS)) >= 200


@pytest.mark.parametrize(
    ("sequence", "name"), [(s, name) for s, names in SPELLINGS.items() for name in names]
)
@pytest.mark.parametrize("write", [str.lower, str.upper, str.title])
@pytest.mark.parametrize("form", ["{}", "anna_{}", "anna-{}_brain", "{} registered"])
def test_the_usual_names_anywhere(sequence, name, write, form):
    assert read_name(form.format(write(name))).sequence is sequence


AGENTS = [
    "gd",
    "gad",
    "gado",
    "gadolinium",
    "ce",
    "km",
    "contrast",
    "gadovist",
    "dotarem",
    "enhanced",
    "+",
]


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("t1", ["t1", "T1w", "T1_mprage_sag", "ax_T1_fs", "anna_T1"])
@pytest.mark.parametrize("form", ["{t1}_{agent}", "{agent}_{t1}", "{t1}-x-{agent}", "{t1}{agent}"])
def test_t1_beside_a_word_for_contrast_is_never_t1(t1, agent, form):
    """T1CE, a question, or a word that nobody knows."""
    assert read_name(form.format(t1=t1, agent=agent)).sequence is not MRSequence.T1


@pytest.mark.parametrize("one", ["t1", "T1CE", "t2", "FLAIR"])
@pytest.mark.parametrize("other", ["t1", "T1CE", "t2", "FLAIR"])
@pytest.mark.parametrize("particle", ["to", "in", "2", "into"])
def test_what_was_moved_counts_not_where(one, other, particle):
    reading = read_name(f"{one}_{particle}_{other}")
    assert reading.sequence is MRSequence[one.upper()]
    assert reading.spelling == one and reading.key == ""


def test_words_of_the_studys_name_are_kept():
    reading = read_name("anna-07_AX_T1_to_FLAIR")
    assert (reading.key, reading.unknown) == ("anna_07", ("anna", "07"))
    assert reading.rest == "anna_07_AX_to_FLAIR"
    assert read_name("FLAIR_t2").key == "t2" and not read_name("FLAIR_t2").unknown
