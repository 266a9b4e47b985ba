"""Work on many items: in threads, in processes, or where another executor runs it.

An executor takes items from a queue and yields an outcome for each, as they end. The queue may
grow while outcomes are consumed, so that items can wait for others. An error of one item is its
outcome and stops no other.
"""

from gliodistill.pool.executor import Executor as Executor
from gliodistill.pool.executor import Outcome as Outcome
from gliodistill.pool.executor import Outcomes as Outcomes
from gliodistill.pool.executor import in_order as in_order
from gliodistill.pool.executor import tracked as tracked
from gliodistill.pool.processes import Processes as Processes
from gliodistill.pool.threads import Threads as Threads

__all__ = ["Executor", "Outcome", "Outcomes", "Processes", "Threads", "in_order", "tracked"]
