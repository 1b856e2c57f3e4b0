"""Plans, addons, prices and entitlements as they travel: each may carry the others, so they stand together.

Owns their responses (`schemas`) and how these are put together from rows, one query per kind. Does not own what a
request may say: that stands with what it changes.
"""
