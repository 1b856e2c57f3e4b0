"""Who runs Farthing: signing in, first steps, settings, integrations, duties, what was done by whom."""
