"""An invoice from its making to its end."""
