"""Synthetic cohorts: anatomy, tumour growth, contrast and artefacts."""

from gliodistill.phantom.cohort import case_name, make_phantom, render, write_cohort
from gliodistill.phantom.drawing import draw_parameters
from gliodistill.phantom.parameters import PhantomParameters

__all__ = [
    "PhantomParameters",
    "case_name",
    "draw_parameters",
    "make_phantom",
    "render",
    "write_cohort",
]
