"""The model that ships: cohort, pilots, cross-validation, report, package."""
