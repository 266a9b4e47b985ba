"""Cross-validation: a recipe trained for every fold and seed, and every patient scored by networks
that have not seen it.
"""

from gliodistill.cross_validation.plan import CrossValidation as CrossValidation
from gliodistill.cross_validation.plan import FoldRun as FoldRun
from gliodistill.cross_validation.scoring import cross_validate as cross_validate
from gliodistill.cross_validation.training import train_folds as train_folds

__all__ = ["CrossValidation", "FoldRun", "cross_validate", "train_folds"]
