"""How events in ClickHouse are asked: one by one, by conditions, and as usage in windows.

Reads only. What usage means is `events.usage`; here is its second dialect. Invariant: both dialects answer the same.
"""
