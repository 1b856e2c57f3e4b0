"""Commands of the command line that have a module of their own. `farthing.cli` puts them together."""
