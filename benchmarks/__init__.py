"""Benchmarks of gliodistill: each a command, run from the repository root as ``python -m benchmarks.NAME``.

Results are committed under ``benchmarks/results/`` with their command and machine.
"""
