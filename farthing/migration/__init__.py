"""A company moves here: its books are copied from a running system that speaks the same API.

Owns reading the source over HTTP, which record became which, the order in which kinds are copied, the report of what
could not be carried, and the comparison of both sides. Does not own how anything is stored: the packages that own the
records do that, as if they were made here, or taken over.

Invariants: a record is copied at most once, however often a run is killed and begun again, because its copy and the
note of it are one transaction; whatever is not copied is in the report with the reason.
"""
