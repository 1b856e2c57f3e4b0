"""The first page: what is earned, owed and used, what comes next, and what a new company does first.

Owns no figure: each is one of the reports or analytics, asked as over the API.
"""
