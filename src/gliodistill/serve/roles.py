"""Which worker process does which kinds of jobs."""

from collections.abc import Mapping

from gliodistill.serve.jobs import CORRECT, INSPECT, SCORE, SEGMENT

NETWORK, QUICK = "network", "quick"
ROLES: Mapping[str, tuple[str, ...]] = {NETWORK: (SEGMENT,), QUICK: (INSPECT, CORRECT, SCORE)}
"""Worker → kinds of jobs; a person who corrects a series does not wait for the network."""
