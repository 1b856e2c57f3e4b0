"""Farthing: usage-based billing, exact to the farthing.

Read the packages in this order, lowest layer first; none imports one that stands after it: `core`, `calendar`,
`metering`, `rating`, `storage`, `identity`, `customers`, `catalogue`, `events`, `subscriptions`, `invoices`,
`payments`, `credits`, `billing`, `marketplaces`, `checkout`, `reporting`, `notifications`, `own_billing`, `transfer`,
`erasure`, `jobs`, `migration`, `web`. Each says in its docstring what it owns, what it does not, and its invariants.
`api` holds the conventions of HTTP that every `routes.py` uses. `wiring` gives each package what it needs from above;
`health` says how a process fares; `app` puts the application together, `serving` runs it in one process or several,
`rotation` changes its master key, `doctor` examines it, `demo` fills it, `backup` keeps and restores it, `assistants`
answers who asks through an assistant, and `cli` with its `commands` is the command line. `settings`, `mail_server`,
`clickhouse_address`, `secret_file` and `logs` are the deployment's.
"""

__version__ = "0.1.0"
