"""Distillation in minutes, on synthetic studies: what ``make demo`` runs."""

from gliodistill.demo.run import run_demo

__all__ = ["run_demo"]
