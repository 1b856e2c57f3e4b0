"""What may happen to a subscription, what it is told beforehand, and what it leaves: states, trials, pauses, ends, changes."""
