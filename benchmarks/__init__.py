"""Measured ratios: each script prints what it measured in one run; none is a test."""
