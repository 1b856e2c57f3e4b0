"""Subscriptions that a cloud marketplace collects for: agreements, hourly records of usage, and reports of them.

Owns which subscription stands for which agreement, the usage records, and what marketplaces are told of them
(`reporting`). Does not own what usage costs (`billing`), connections and their secrets (`payments.integrations`), or
mappings (`customers.mappings`).

Rules: docs/rules/marketplaces.md.

Invariants: a subscription has one record for each closed hour, written once and never edited; the records of a
subscription add up to the usage of its billing periods, less what waits because usage became less.
"""
