"""Bodies of subscriptions and their parts, with the names and fields of the wire: `requests` and `responses`."""
