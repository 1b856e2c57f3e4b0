"""The model of what a subscription is charged: items, time, usage, quotas, coupons, taxes, settlements."""
