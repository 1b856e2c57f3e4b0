"""Events on their way in: checked (`incoming`), gathered into one transaction (`group_commit`), stored exactly once
(`store`).

Owns the order of acceptance (`sequence`) and the meters as appends use them (`meters`). Does not own what an event
counts (`metering`).

Invariant: what was acknowledged is on disk and counted once.
"""
