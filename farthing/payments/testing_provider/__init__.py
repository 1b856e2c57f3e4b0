"""A payment provider inside Farthing, to develop and test against: no money, no network, no secrets to enter.

Owns its simulated charges, hosted pages, saved methods and the events it signs. It serves every connection whose
metadata says `mode: test`, and is a stranger to the books: it changes a payment only through signed webhooks and the
results of calls, as any provider does. Refused in production environments.
"""

from farthing.payments.providers.registry import TEST_MODE, register
from farthing.payments.testing_provider.provider import TestProvider

register(TEST_MODE, TestProvider)
