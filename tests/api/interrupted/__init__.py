"""Requests whose process is killed at each of its commits."""
