"""Connections to payment systems."""
