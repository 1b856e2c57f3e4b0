"""What a line costs and why: proration, service time, coupons, taxes, commitments, conversion, what is given back."""
