"""Previews of invoices and changes, against what is then done."""
