"""Who may do what: tenants, environments, users and service accounts, API keys, roles, settings; and what documents say
of the parties to them, kept as it stood.

Does not own customers (the people who are billed) nor portal sessions. Invariants:

- a credential belongs to one tenant; an API key also to one environment; nothing else decides the scope;
- keys and passwords are stored as hashes only; a key is shown once; it dies with its owner;
- the email of a published user is unique in the whole deployment;
- a suspended tenant reads and does not write.
"""
