"""Paying through Stripe: against its documented answers, against localstripe, and killed in the middle."""
