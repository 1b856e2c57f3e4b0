"""What subscriptions and their usage are shown as."""
