"""``python -m gliodistill``."""

import sys

from gliodistill.cli.main import run

if __name__ == "__main__":  # processes that prepare studies import this module anew
    sys.exit(run())
