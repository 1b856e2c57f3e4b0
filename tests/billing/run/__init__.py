"""The run, its duties and test clocks: everything once, at its instant, whoever runs it and whatever kills it."""
