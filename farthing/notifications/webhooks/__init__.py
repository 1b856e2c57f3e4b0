"""Webhooks: recorded events, posted to the endpoints that an environment has registered.

Owns endpoints with their secrets, the deliveries of each event to each endpoint, and every attempt. `delivery` does
the work; this package holds the rules of endpoints and messages, and the catalogue of events.

Words. An *endpoint* is a URL that wants events. A *message* is an event as endpoints receive it. A *delivery* is one
message on its way to one endpoint; an *attempt* is one POST of it.

Invariants:

- a message has one id and one body, the same for all endpoints and attempts;
- a delivery ends when its endpoint answers 2xx, or when its schedule of attempts does; both can be seen;
- secrets and headers of endpoints are stored sealed.
"""
