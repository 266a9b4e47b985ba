"""One page a file: evaluation, comparison, plan."""
