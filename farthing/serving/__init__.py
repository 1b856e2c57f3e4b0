"""Running the service: the address it listens on, one process that serves, and several that serve as one.

Owns processes, engines and an orderly end. Does not own what is served: `farthing.app` puts that together. Invariants:
an address is taken before anything is served; what was accepted is answered before a process ends.
"""
