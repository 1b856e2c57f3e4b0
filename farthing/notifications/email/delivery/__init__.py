"""How mails reach the server: one at least, with one Message-ID, tried again by a schedule, and parked in the end.

`message` builds what is handed in, `smtp` hands it in, `run` takes what is due on a lease, asks whether it is still
true, sends and records. Whoever is killed leaves a lease that ends, and the mail is handed in again.

Times here are real times, whatever the test clock of an environment says.

Rule: docs/rules/email.md#delivery
"""
