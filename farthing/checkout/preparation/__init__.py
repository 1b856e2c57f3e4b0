"""How a checkout begins: the draft that it holds is worked out, its session and payment stored, and a page asked for.

Does not own how it ends (`conclusion`). Invariant: no provider is asked before session and payment are on disk.
"""
