"""Code lists and forms that others have laid down: languages, colours of a screen, email addresses, trade codes.

Reads its lists from files beside it and knows nothing of who uses them.
"""
