"""What the invoice run, its credits and a whole billing day cost."""
