"""How each kind of record of the source becomes one of ours, in the order of their references."""
