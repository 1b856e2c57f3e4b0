"""Connections to PostgreSQL: how many there are, whose turn it is, how long they wait, and what a failure means;
and connections that are kept for hot reads.
"""
