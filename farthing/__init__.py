"""Farthing: usage-based billing, exact to the farthing.

Read the packages in this order, lowest floor first; none imports one that stands after it:
`core`, `calendar`, `rating`, `storage`, `identity`, `customers`, `catalogue`, `events`, `subscriptions`,
`invoices`, `payments`, `credits`, `billing`, `notifications`, `jobs`, `web`. Each says in its docstring what
it owns, what it does not, and its invariants. `api` holds the conventions of HTTP that every `routes.py` uses;
`app` assembles the house; `cli` and `server` open the door.
"""

__version__ = "0.1.0"
