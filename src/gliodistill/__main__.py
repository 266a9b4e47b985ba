"""``python -m gliodistill``."""

import sys

from gliodistill.cli.main import run

if __name__ == "__main__":  # worker processes import this module again
    sys.exit(run())
