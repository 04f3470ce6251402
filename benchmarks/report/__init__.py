"""`python -m benchmarks report`: what the other commands measured, as one page."""
