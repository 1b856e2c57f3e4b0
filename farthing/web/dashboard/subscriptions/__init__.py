"""Pages on which subscriptions are made, changed and ended.

Each change takes two steps: a form is filled in, and what will happen is shown before it is confirmed. The preview
carries the change out with the functions of the API and undoes it; the confirmation carries out the same and lasts only
if it comes to the same. No figure is computed here, and no rule lives here.
"""
