"""Payments that a provider takes."""
