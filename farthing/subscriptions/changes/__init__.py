"""What happens to subscriptions, as it is stored and told: pauses, schedules, changes that were made, and events.

Owns these tables, the JSON that they keep and the payloads. Does not own how a change is carried out (`lifecycle`,
`plan_change`, `roll_forward`), nor what it leaves for billing (`outcome`).
"""
