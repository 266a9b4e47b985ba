"""Evaluation: metrics, rule sets, scoring of a folder, statistics."""
