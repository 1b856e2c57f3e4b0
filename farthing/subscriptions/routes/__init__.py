"""Endpoints of subscriptions that end in no invoice: reading, searching, the limited update, schedules, price sync."""
