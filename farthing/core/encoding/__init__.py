"""How values travel and are written down: bodies and their errors, times on the wire, tables as CSV and Parquet.

Owns no type of a domain. Invariant: what is decoded here is checked here, and every error names its field.
"""
