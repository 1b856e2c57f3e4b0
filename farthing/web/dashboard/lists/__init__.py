"""The lists of the dashboard: invoices, customers, subscriptions, and how people look at them.

Owns what each list declares (`invoice_list`, `customer_list`, `subscription_list`), how a list is answered as a page or
as a file (`showing`), and the views that people save (`saved_views`). Does not own how an address is read, which is
`rendering.listing`.

Invariants: a file holds the rows and the columns of its page; amounts of two currencies are never sorted into one
another.
"""
