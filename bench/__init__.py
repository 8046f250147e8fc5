"""Measures the simulated deployment beside the pools people reach for first."""
