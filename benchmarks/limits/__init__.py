"""`python -m benchmarks limits`: what the documents say about latency, measured on this machine."""
