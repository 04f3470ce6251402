"""`python -m benchmarks accuracy`: how right a package's networks are, with how sure each figure is."""
