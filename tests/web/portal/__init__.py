"""What customers see and may do: their portal, and the pages of checkouts."""
