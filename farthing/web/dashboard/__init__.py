"""Pages for those who bill. Each calls the functions that the API calls, under the same permissions."""
