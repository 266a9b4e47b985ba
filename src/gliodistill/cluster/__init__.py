"""Work on the machines of a Ray cluster; the only importer of ``ray``."""

from gliodistill.cluster.executor import Cluster as Cluster

__all__ = ["Cluster"]
