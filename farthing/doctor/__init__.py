"""The doctor: is the deployment sound, and do the books add up? Reads only."""
