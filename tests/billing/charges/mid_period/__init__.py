"""What changes in mid-period cost and give back."""
