"""Coupons by the service periods of lines, and taxes by tax point and payer."""
