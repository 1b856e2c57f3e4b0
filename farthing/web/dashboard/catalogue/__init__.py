"""Pages of the catalogue: what is sold is looked at, made, changed and retired, by the functions of the API."""
