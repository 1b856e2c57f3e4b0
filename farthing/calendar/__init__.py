"""When: spans of time, billing periods, usage windows, proration fractions, due dates. Pure date arithmetic.

Owns the one rule that turns a wall-clock time into an instant (`zones`), the half-open `Period` (`period`), billing
periods and their anchors (`billing`), what recurs beside them: longer item periods, usage resets, commitment windows,
trials, pauses (`recurring`), the coefficient of a part of a period (`proration`), aligned usage windows (`windows`),
due dates and the date part of invoice numbers (`due`).

Does not own money: a coefficient is a `Fraction`, and whoever multiplies it rounds, once. Knows no subscription,
invoice or event, reads no clock, opens no session.

Invariants: instants come and go as aware UTC; zones come in as `ZoneInfo`, made from a name by `zones` alone;
consecutive periods and windows tile the line without gap or overlap, whatever the zone does; a day of month that a
short month lacks is clamped there and comes back in the next long one.
"""
