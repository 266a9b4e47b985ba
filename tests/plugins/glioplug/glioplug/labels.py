"""Codes in tens."""

from gliodistill.studies import LabelConvention, Tissue

PLUG_LABELS = LabelConvention(
    "plug_labels", "glioplug", {10: Tissue.ED, 20: Tissue.NCR, 30: Tissue.ET}
)
