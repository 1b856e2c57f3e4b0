"""What is typed into pages: read as values, refused at its field, and harmless."""
