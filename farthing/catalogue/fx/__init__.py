"""Exchange rates: what one unit of a currency costs in another, for whom and when.

Owns rates (`rates`) of the environment, of customers and of subscriptions, the choice among them (`resolution`), and
the reference rates of the European Central Bank (`reference_file`, `market`) that rates of source `market` follow.

Does not own what is converted (`rating.totals.conversion`), or when (`invoices`): an invoice keeps the rate that it was
converted at, and nothing here is read for it again.

Invariants: a pair is directed; a pair has one published rate of the environment, which stays; windows of rates of the
same scope and pair do not overlap, which the database promises.
"""
