"""Training methods: one file and one recipe per paper."""

from gliodistill.methods.any_subset import AnySubset
from gliodistill.methods.assistant_chain import AssistantChain
from gliodistill.methods.base import Batch, Method, Needs
from gliodistill.methods.compression import Compression
from gliodistill.methods.mutual import Mutual
from gliodistill.methods.omni import Omni
from gliodistill.methods.registry import METHODS, register_method
from gliodistill.methods.single_stage import SingleStage
from gliodistill.methods.supervised import Supervised

names = METHODS.names
"""Names of all methods, sorted: what a recipe may name."""
register = register_method
"""``gd.methods.register``: another name for :func:`register_method`."""

__all__ = [
    "METHODS",
    "AnySubset",
    "AssistantChain",
    "Batch",
    "Compression",
    "Method",
    "Mutual",
    "Needs",
    "Omni",
    "SingleStage",
    "Supervised",
    "names",
    "register",
    "register_method",
]
