"""`python -m benchmarks gate`: is one checkout slower than another, on this machine?"""
