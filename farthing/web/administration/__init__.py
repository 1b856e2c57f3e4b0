"""Pages for whoever looks after a deployment: settings, API keys, the test clock, periodic duties."""
