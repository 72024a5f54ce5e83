"""Benchmarks against other ways to do the same, and against the limits; each is one command of the Makefile."""
