"""What a wallet does by itself: when it tops itself up, which thresholds its balance is held against."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from msgspec import UNSET

from farthing.catalogue.products import alerts
from farthing.core.encoding.wire import BadField
from farthing.core.errors import ValidationFailed
from farthing.credits.enums import CooldownUnit, WalletStatus
from farthing.credits.ledger.tables import Wallet
from farthing.credits.schemas import AutoTopup, WalletAlertRequest

_SECONDS = {CooldownUnit.SECOND: 1, CooldownUnit.MINUTE: 60, CooldownUnit.HOUR: 3600, CooldownUnit.DAY: 86400}


def set_auto_topup(wallet: Wallet, request: AutoTopup | None) -> None:
    """Lay `request` over what a wallet has, field by field; None takes it away. Raises ValidationFailed.

    Rule: docs/rules/credits.md#automatic-top-ups
    """
    if request is None:
        wallet.auto_topup_enabled = wallet.auto_topup_invoicing = False
        wallet.auto_topup_threshold = wallet.auto_topup_amount = wallet.auto_topup_monthly_limit = None
        wallet.auto_topup_cooldown_value = wallet.auto_topup_cooldown_unit = None
        return
    if request.invoicing is not None:
        wallet.auto_topup_invoicing = request.invoicing
    if request.enabled is not None:
        wallet.auto_topup_enabled = request.enabled
    if request.threshold is not None:
        wallet.auto_topup_threshold = request.threshold
    if request.amount is not None:
        wallet.auto_topup_amount = request.amount
    if request.monthly_limit is None or isinstance(request.monthly_limit, Decimal):
        wallet.auto_topup_monthly_limit = request.monthly_limit
    if request.cooldown is None or request.cooldown is not UNSET:
        cooldown = request.cooldown or None
        waits = cooldown is not None and cooldown.value > 0
        wallet.auto_topup_cooldown_value = cooldown.value if cooldown is not None and waits else None
        wallet.auto_topup_cooldown_unit = cooldown.unit if cooldown is not None and waits else None
    _require_whole(wallet)


def require_all_given(request: AutoTopup) -> None:
    """Raises BadField for a field that a new wallet's auto top-up lacks."""
    for field in ("threshold", "amount", "invoicing"):
        if getattr(request, field) is None:
            raise BadField(f"auto_topup.{field}", "is required")


def _require_whole(wallet: Wallet) -> None:
    if not wallet.auto_topup_enabled:
        return
    for field, value in (("threshold", wallet.auto_topup_threshold), ("amount", wallet.auto_topup_amount)):
        if value is None:
            raise ValidationFailed.of(f"auto_topup.{field}", "is required for auto top-up to be enabled")
    limit, amount = wallet.auto_topup_monthly_limit, wallet.auto_topup_amount
    if limit is not None and amount is not None and limit < amount:
        raise ValidationFailed.of("auto_topup.monthly_limit", "must not be below auto_topup.amount")


def cooldown_of(wallet: Wallet) -> timedelta:
    """How long a wallet waits after it has topped itself up."""
    if wallet.auto_topup_cooldown_value is None or wallet.auto_topup_cooldown_unit is None:
        return timedelta(0)
    return timedelta(seconds=wallet.auto_topup_cooldown_value * _SECONDS[wallet.auto_topup_cooldown_unit])


def set_alerts(wallet: Wallet, request: WalletAlertRequest | None) -> None:
    """Let `request` replace a wallet's thresholds; None leaves it those of the environment. Raises ValidationFailed."""
    if request is None:
        wallet.alert_settings = None
    else:
        wallet.alert_settings = {
            **alerts.settled(None, request),
            "alert_threshold_type": request.alert_threshold_type,
        }


def schedule(wallet: Wallet, now: datetime) -> None:
    """Have a wallet looked at now if anything may follow from its balance."""
    watched = wallet.auto_topup_enabled or bool((wallet.alert_settings or {}).get("alert_enabled"))
    wallet.evaluate_at = now if watched and wallet.wallet_status is WalletStatus.ACTIVE else None
