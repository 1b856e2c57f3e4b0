"""Invoices that are measured again and corrected, line by line, by credit notes or by the next invoice."""
