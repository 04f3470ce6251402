"""Measurements of the runtime: against its peers, against its budgets. `python -m benchmarks --help`."""
