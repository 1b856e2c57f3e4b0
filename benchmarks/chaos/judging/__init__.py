"""What is held against the service: what was lost or doubled, what the doctor finds, how soon it was back."""
