"""The endpoints of plans, addons, prices and entitlements, whose answers carry one another."""
