"""Distilled students against baselines, by protocol: which runs, how they are scored, tables."""
