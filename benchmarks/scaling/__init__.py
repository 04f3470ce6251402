"""`python -m benchmarks scaling`: what more faces, streams, pixels and network cost, and how far the path is above what the machine could do."""
