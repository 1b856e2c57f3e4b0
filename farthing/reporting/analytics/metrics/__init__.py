"""What each metric measures, as cells of one table: billed, owed, recurring, recognized, credits and usage.

Does not own the language of questions, nor how cells become an answer (`farthing.reporting.analytics`).
"""
