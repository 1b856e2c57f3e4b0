"""What a row of each kind becomes: an event, a customer, a price or a feature, by the same way in as a request.

Owns which request a row makes; the requests decide what it may hold, and `files` how it was read.
"""
