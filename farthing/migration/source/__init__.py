"""Reading the system that the books come from: its API over HTTP, and what its answers say."""
