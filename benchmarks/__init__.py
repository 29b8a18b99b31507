"""Measurements whose figures stand in docs/benchmarks.md; each script says how to run it."""
