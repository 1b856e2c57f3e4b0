"""Data in and out by the file: imports of events, customers, prices and features; exports, also by schedule.

Owns tasks (one import or one run of an export), the rows of a file that could not be imported, files that were
uploaded, scheduled tasks, and where exports go. Does not own what an event, a customer, a price or a feature may be,
nor any figure that is exported: it asks the packages that do.

Invariants:

- A row of a file takes effect once, however often its import is interrupted: what a chunk of rows did and how far the
  task is are one transaction, or the rows carry ids that make a repeat harmless.
- Only the latest attempt of a task writes its progress. A task that was cancelled is left alone by its attempt.
- An export appears at its place whole, or not at all.
- A scheduled task exports each window once by itself, whatever is run again and by how many workers.
"""
