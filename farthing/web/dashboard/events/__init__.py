"""Pages of events: the latest, one with what became of it, and a test event with the command that would send it.

Does not own how events are taken in or counted (`farthing.events`).
"""
