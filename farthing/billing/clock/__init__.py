"""Test clocks: an environment's time stands still until somebody moves it, and what is due on the way is done.

- `stops` says at which instants a duty would find something new to do, from the rows alone;
- `clockwork` moves the clock from stop to stop and does what is due there, one mover at a time;
- `routes` are the doors; the page and the command line go through `clockwork` too.
"""
