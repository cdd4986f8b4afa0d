"""Benchmarks: what our answers cost, beside what others' cost, on one server in one run."""
