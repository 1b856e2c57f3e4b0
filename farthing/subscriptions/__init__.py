"""Subscriptions: who bought which plan from when, what they are charged for, and what is to change."""
