"""What was billed, recognized and recurs, with worked numbers."""
