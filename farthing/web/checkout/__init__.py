"""The page of a checkout: what is paid for, how much it is, and the way to the provider, in the payer's language.

Public; the address holds a key that nobody can guess, and shows one checkout and nothing else.
"""
