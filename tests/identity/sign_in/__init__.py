"""People: signing up and in, what protects it, and their accounts."""
