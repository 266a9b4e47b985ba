"""The pages: evaluation, comparison, plan."""
