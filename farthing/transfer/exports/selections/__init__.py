"""What each kind of export holds: its columns, and its rows in portions, from one snapshot.

Owns which rows and columns; does not own any figure, nor how files are written.
"""
