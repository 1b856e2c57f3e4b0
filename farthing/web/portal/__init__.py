"""Pages and JSON for those who are billed.

Owns what each page shows and does (`pages`, `usage`, `subscriptions`, `credits`, `methods`, `paying`, `details`,
`alerts`), the merchant's look (`look`), and the same over JSON (`routes`). Who is looking, and in which language, is
the `visit`. Owns no figure and no rule.

Invariant: the token alone says which customer; no request can name another.
"""
