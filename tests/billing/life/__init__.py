"""What may happen to a subscription and what it is told beforehand: states, trials, pauses, ends, changes, previews."""
