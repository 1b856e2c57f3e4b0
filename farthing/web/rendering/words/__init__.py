"""How values and changes read to people: money, times, states, fields, activities and their differences.

Makes no page and knows no domain's rules.
"""
