"""Budgets kept as measurements: `make bench` prints them, with medians and ratios; nothing here is a timed test."""
