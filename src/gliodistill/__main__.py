"""``python -m gliodistill``."""

from gliodistill.cli.main import run

run()
