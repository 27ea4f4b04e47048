"""Measurements behind the figures in README and docs. Run one with `python -m benchmarks NAME`; they are never part of the tests."""
