"""What an invoice adds up to: lines, coupons, prepaid credits, taxes, the total (`calculation`) and what is left of it
(`balance`).
"""
