"""What documents say of a seller or a buyer, kept as it stood.

Owns the versions of parties: one for each state in which a party stood when a document became final, or into which it
was changed. Does not own what a party's details are: the seller's are a setting, a buyer's the customer's.

Invariants: versions of a party are ordered by their ids; a version never changes and is never deleted, but where the
customer is erased.
"""
