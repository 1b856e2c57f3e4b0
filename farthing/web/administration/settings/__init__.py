"""Settings on pages: an overview that says the value of each in words, and a form for each that people change.

A form has a sentence for every field that says what it changes and where. Nothing is validated here: a form becomes the
value that the API takes, and `identity.settings` checks it.
"""
