"""What tests of alerts use of billing."""

from tests.billing.conftest import office

__all__ = ["office"]
