"""What is sold and to whom: the catalogue, subscriptions and agreements, on pages alone."""
