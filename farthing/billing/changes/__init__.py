"""Changes of a subscription with their money: opened, modified, paused, its plan changed or replaced.

Owns the step from a change to invoices and settlements (`apply_outcome`, `settle`, `prepaid_fees`), where credits go
that no invoice can take (the port `credit_sink`), and what a change is answered with (`answers`). Does not own the
change itself (`subscriptions`).

Invariants: a settlement happens once per change; credits never exceed what was invoiced net of discount.
"""
