"""Changes of plan, and prices brought in line with the plan."""
