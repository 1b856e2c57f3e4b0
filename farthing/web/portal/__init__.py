"""Pages and JSON for those who are billed. The token alone says which customer; no request can name another."""
