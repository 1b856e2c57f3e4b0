"""Features, the meters behind metered ones, and the groups that features and prices are listed under.

A meter says which events count and how they fold into one number; it changes only by gaining filter values. A meter
has at most one published feature. A group is for presentation and never changes money.
"""
