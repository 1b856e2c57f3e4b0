"""What lists, summaries and reports cost, and that their plans hold."""
