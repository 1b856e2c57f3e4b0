"""How messages reach endpoints: at least once, in order, and no endpoint at another's expense.

`fan_out` turns recorded events into deliveries, `queue` hands out those that are due and records what came of them,
`client` posts, `worker` goes on doing all of it. All state is in rows: whoever is killed leaves a lease that ends.

Times here are real times, whatever the test clock of an environment says: receivers live in ours, and refuse a
signature that is older than five minutes.

Rule: docs/rules/webhooks.md#delivery
"""
