"""The words all else is written in: money, currencies, ids, time, errors, and the enums every domain shares.

Owns no table, no I/O and no rule of a domain. Invariants: money is `Decimal`, never `float`; time is aware UTC;
`now()` is called in `clock` alone; rounding happens through `money.round_to` alone.
"""
