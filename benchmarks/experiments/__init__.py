"""Experiments of one question each, kept with their results; benchmarks/README.md lists them."""
