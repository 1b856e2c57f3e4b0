"""What a new wallet is like unless somebody says otherwise."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from farthing.core.ids import Kind, new_id
from farthing.core.money import ZERO
from farthing.credits.enums import WalletPriceType, WalletStatus, WalletType
from farthing.credits.ledger.tables import Wallet

_NAMES = {WalletType.PRE_PAID: "Prepaid", WalletType.POST_PAID: "Postpaid"}
_PRICE_TYPES = {WalletType.PRE_PAID: WalletPriceType.USAGE, WalletType.POST_PAID: WalletPriceType.ALL}


class WalletKey(NamedTuple):
    """What a customer has one open wallet for."""

    customer_id: str
    currency: str
    wallet_type: WalletType = WalletType.PRE_PAID


def default_name(wallet_type: WalletType, currency: str) -> str:
    """What a wallet is called unless somebody names it."""
    return f"{_NAMES[wallet_type]} Wallet - {currency.upper()}"


def default_price_types(wallet_type: WalletType) -> list[str]:
    """What a wallet is for unless its caller says so."""
    return [_PRICE_TYPES[wallet_type].value]


def new_wallet(key: WalletKey, rate: Decimal = Decimal(1), **columns: Any) -> Wallet:
    """An active wallet without credits, not stored; `columns` replace what a new wallet has by default."""
    defaults = {
        "id": new_id(Kind.WALLET),
        "wallet_status": WalletStatus.ACTIVE,
        "name": default_name(key.wallet_type, key.currency),
        "description": "",
        "meta": {},
        "allowed_price_types": default_price_types(key.wallet_type),
        "conversion_rate": rate,
        "topup_conversion_rate": rate,
        "credit_balance": ZERO,
        "balance": ZERO,
        "last_seq": 0,
        "converted_from": None,
    }
    return Wallet(**{**defaults, **key._asdict(), **columns})
