"""Asking for usage: worked examples, lists and analytics, what measuring costs, and all of it against a model."""
