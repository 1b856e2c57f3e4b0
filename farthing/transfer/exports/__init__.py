"""Exports: rows of the books become a file at its place, which is a folder of the deployment or an S3 bucket.

Owns what each kind exports (`selections`), how files are written (`sink`), where they go (`places`) and how they are
downloaded (`links`). Figures are those of the packages below; none is worked out here.

Invariants: an export reads one snapshot, keeps a bounded number of rows in memory, and appears whole or not at all.
"""
