"""The documents say what is so: examples run, times and rules are those of the code."""
