"""How a page is made: templates, assets, charts, lists, and how values read to people. Knows no domain's rules."""
