"""The document that is published: it describes everything, and every answer is as it declares."""
