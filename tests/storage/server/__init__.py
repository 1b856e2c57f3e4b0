"""The PostgreSQL beneath: what it grants, how it is tuned, full disks and leftovers."""
