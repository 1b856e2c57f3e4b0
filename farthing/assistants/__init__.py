"""What an assistant may ask: a server of the Model Context Protocol, in front of the API of a running Farthing.

Owns the tools (`accounts`, `invoices`, `offers`, `changes`), how their answers are shortened (`concise`), the client of
the API (`api`) and the server that offers them over standard input and output (`server`). Does not own any figure and
any rule: everything is asked of the API with the key that the assistant was given.

Invariants: whoever holds the key can do no more through a tool than without; nothing is changed unless the operator
allowed it; the key leaves for no other address and stands in no answer.
"""
