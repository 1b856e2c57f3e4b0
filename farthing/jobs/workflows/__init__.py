"""What runs in the background of an environment, as one list: mails, deliveries of webhooks, backfills of meters, moves
of the test clock, copies of environments.

Owns no state: each is read from the rows of the package that does the work. Duties go through everybody's books and
are no environment's; how they stand is on the page of duties.

Invariant: reads only, within the session's environment.
"""
