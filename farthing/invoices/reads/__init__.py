"""Invoices as they are shown: with their relations (`presentation`), found (`search`), and as documents (`documents`).
Nothing here writes.
"""
