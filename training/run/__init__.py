"""A training run: the graph of a step, state, resuming, reports."""
