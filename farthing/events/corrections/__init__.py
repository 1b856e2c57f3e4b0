"""Corrections of events: voiding and amending what was accepted, with reasons, and the history that both leave.

Owns the former versions of events and what may become of them. Does not own ingest, whose re-sent events leave no
history, nor what a correction does to invoices: that is `billing.corrections`.

Invariants: a void event is not stored, counts nowhere and its id is taken; a correction is all or nothing.
"""
