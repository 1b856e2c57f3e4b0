"""What the forms of subscriptions share: typed values read into requests, what a change comes to, and its two steps.

Does not know which changes there are (`changes`). Invariant: nothing is carried out that came to something else when it
was shown.
"""
