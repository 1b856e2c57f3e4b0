"""The schema: migrations from every earlier revision, and what they keep."""
