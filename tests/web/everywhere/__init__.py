"""What holds on every page, list and form: they answer, are small, safe and accessible, and show what the API says."""
