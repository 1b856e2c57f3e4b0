"""What was promised: allowances of usage, commitments of a line item, of its windows, and of a whole subscription."""
