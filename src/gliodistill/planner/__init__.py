"""Planning of a student for a budget: candidates are counted and measured, one is proposed as a
recipe.
"""
