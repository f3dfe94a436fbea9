"""Benchmarks, measured on the real parts."""
