"""The activity log: who changed what, when, from where, and what it was before.

Owns: reading the log, by filters and page by page; and forgetting what is older than the environment keeps. Does not
own: recording, which `storage` does in the transaction of each change, by itself. Reads nothing of other environments;
what belongs to the tenant alone (people, environments, its own settings) is read in each of its environments.
"""
