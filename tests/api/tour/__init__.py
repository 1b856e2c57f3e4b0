"""A walk through the whole API with valid requests, told once and taken by whoever can make a call.

`build` makes one of everything, `read` looks at all of it, `change` edits it and `end` takes it down. The last three
depend on what was built alone, not on one another's answers, so that a stranger can repeat every step of them.
"""
