"""What the doctor proves of billing: sound books are clean, and whatever is changed behind them is named."""
