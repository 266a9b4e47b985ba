"""Which student to build for a budget: shapes counted, predicted, measured here, and one proposed
as a recipe.
"""
