"""The service under test: its processes, how they are started again, and a small disk for them."""
