"""Pages about people: signing in, passwords and second factors, one's own account, and the team."""
