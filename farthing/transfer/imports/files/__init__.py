"""Files to import as rows: fetched, unpacked, cut into lines, and read as CSV or JSON by the columns of their kind.

Does not know what a row is for (`kinds`) and writes nothing. Invariant: whatever a file holds, it is read in bounded
memory, and a row that cannot be read is a row with a reason.
"""
