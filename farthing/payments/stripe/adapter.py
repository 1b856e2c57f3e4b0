"""How a connection to Stripe is checked and opened. Stripe's library is loaded when the first one is opened."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from farthing.core.errors import ValidationFailed
from farthing.payments.providers.interface import Provider
from farthing.payments.providers.registry import Adapter, ConnectionDraft, ProviderSupport

_WHERE = "encrypted_secret_data"
_MODES: Mapping[str, str] = MappingProxyType({"test": "test mode", "live": "live mode"})


def check_connection(draft: ConnectionDraft) -> None:
    """Raises ValidationFailed, naming the field, for keys that cannot work or belong to another kind of environment.

    Rule: docs/rules/integrations.md#connecting-stripe
    """
    secrets = draft.secrets
    mode = _mode_of(secrets, "secret_key", ("sk", "rk"))
    if mode is None:
        raise ValidationFailed.of(f"{_WHERE}.secret_key", "is required: the secret key, or a restricted one, of Stripe")
    if mode == "live" and not draft.is_production:
        raise ValidationFailed.of(f"{_WHERE}.secret_key", "is a live key, which only a production environment takes")
    publishable = _mode_of(secrets, "publishable_key", ("pk",))
    if publishable is not None and publishable != mode:
        raise ValidationFailed.of(f"{_WHERE}.publishable_key", f"must be of {_MODES[mode]}, as the secret key is")
    _require_prefix(secrets, "webhook_secret", "whsec_")
    _require_prefix(secrets, "account_id", "acct_")
    config = draft.sync_config
    if config is not None and config.invoice is not None and config.invoice.outbound:
        raise ValidationFailed.of(
            "sync_config.invoice.outbound", "is not possible: no invoices are copied to Stripe yet"
        )


def _mode_of(secrets: Mapping[str, Any], name: str, kinds: tuple[str, ...]) -> str | None:
    """The mode of a key, "test" or "live"; None if there is none."""
    value = secrets.get(name)
    if value is None or value == "":
        return None
    parts = str(value).split("_", 2)
    is_clean = str(value).isascii() and str(value).isprintable() and " " not in str(value)
    if not is_clean or len(parts) != 3 or parts[0] not in kinds or parts[1] not in _MODES or not parts[2]:
        shapes = " or ".join(f"{kind}_{mode}_..." for kind in kinds for mode in _MODES)
        raise ValidationFailed.of(f"{_WHERE}.{name}", f"must look like {shapes}")
    return parts[1]


def _require_prefix(secrets: Mapping[str, Any], name: str, prefix: str) -> None:
    value = secrets.get(name)
    if value is None or value == "":
        return
    if not str(value).startswith(prefix) or len(str(value)) == len(prefix):
        raise ValidationFailed.of(f"{_WHERE}.{name}", f"must look like {prefix}...")


def open_stripe(support: ProviderSupport) -> Provider:
    """The account behind a connection."""
    from farthing.payments.stripe.provider import StripeProvider

    return StripeProvider(support)


STRIPE = Adapter(open=open_stripe, check_connection=check_connection)
