"""The service as a process: its data folder, its start, one server, several under a supervisor."""
