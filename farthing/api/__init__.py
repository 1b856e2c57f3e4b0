"""The conventions of HTTP that every route keeps: authentication, error bodies, lists, the search language, OpenAPI.

Owns no table and knows no domain. A `routes.py` uses it; it imports none. Invariants:

- one request is one transaction: it commits if the answer is a success and is undone otherwise;
- a request that may only read runs in a read-only snapshot, so that a GET cannot write;
- every failure, from whatever layer, leaves in the one error body.
"""
