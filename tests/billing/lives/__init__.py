"""Independent models of what a subscription's life, its wallets and its quotas must come to.

They are worked out from the rules alone, in plain dates, decimals and fractions, and share no code with what they
check.
"""
