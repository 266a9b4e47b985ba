"""Scores under a named rule set: metrics, rules, a whole folder against its truth, statistics."""
