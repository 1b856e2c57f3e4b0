"""Each change that can be made to a subscription on a page: its form, and the function of the API that makes it.

Owns neither the pages around them (`action_pages`) nor how they are shown and carried out (`forms`).
"""
