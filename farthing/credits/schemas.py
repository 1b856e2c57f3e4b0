"""Bodies of wallets and their transactions."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType

from farthing.api.queries.lists import Page
from farthing.catalogue.products.schemas import FeatureAlertRequest
from farthing.core.checkout import CheckoutParams, CheckoutSessionResponse
from farthing.core.encoding.wire import (
    BadField,
    DecimalText,
    Moment,
    Request,
    Response,
    Timestamp,
    checked_metadata,
    currency_code,
    stored_amount,
)
from farthing.core.enums import Status
from farthing.credits.enums import (
    CooldownUnit,
    ReferenceType,
    TransactionReason,
    TransactionStatus,
    TransactionType,
    WalletPriceType,
    WalletStatus,
    WalletType,
)
from farthing.credits.rules.conversion import SCALE
from farthing.customers.schemas import CustomerResponse
from farthing.identity.schemas import UserResponse
from farthing.storage.queries.listing import ListQuery

Identifier = Annotated[str, Meta(min_length=1, max_length=255)]
Key = Annotated[str, Meta(max_length=255)]
Name = Annotated[str, Meta(max_length=255)]
Description = Annotated[str, Meta(max_length=2000)]
Ids = Annotated[list[str], Meta(max_length=1000)]
Priority = Annotated[int, Meta(ge=0, lt=2**31)]

RATE_SCALE = 5
LARGEST_RATE = Decimal(10) ** 10


def checked_credits(field: str, credits: Decimal | None, *, least: Decimal | None = None) -> Decimal | None:
    """A number of credits that can be stored as it is; above 0, or at least `least`. Raises BadField."""
    if credits is None:
        return None
    if (credits <= 0) if least is None else (credits < least):
        raise BadField(field, "must be above 0" if least is None else f"must be at least {least}")
    if credits != round(stored_amount(field, credits), SCALE):
        raise BadField(field, f"must have at most {SCALE} digits after the decimal point")
    return credits


def checked_rate(field: str, rate: Decimal) -> Decimal:
    """A rate that can be stored as it is. Raises BadField."""
    if rate <= 0 or rate > LARGEST_RATE:
        raise BadField(field, f"must be above 0 and at most {LARGEST_RATE:f}")
    if rate != round(rate, RATE_SCALE):
        raise BadField(field, f"must have at most {RATE_SCALE} digits after the decimal point")
    return rate


class WalletConfig(Request):
    allowed_price_types: Annotated[list[WalletPriceType], Meta(max_length=3)] | None = None


class Cooldown(Request):
    """How long a wallet waits after it has topped itself up; a value of 0 is no wait."""

    value: Annotated[int, Meta(ge=0, lt=10_000_000)]
    unit: CooldownUnit


class AutoTopup(Request):
    """When a wallet tops itself up, and by how many credits. In an update absent means as before."""

    enabled: bool | None = None
    threshold: Decimal | None = None
    amount: Decimal | None = None
    invoicing: bool | None = None
    cooldown: Cooldown | UnsetType | None = UNSET
    monthly_limit: Decimal | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_credits("threshold", self.threshold, least=Decimal(0))
        checked_credits("amount", self.amount)
        if isinstance(self.monthly_limit, Decimal):
            checked_credits("monthly_limit", self.monthly_limit)


class WalletAlertRequest(FeatureAlertRequest):
    """Thresholds of a wallet's credits, or in percent of the credits of its open lots. They replace those before."""

    alert_threshold_type: Literal["absolute", "percentage"] = "absolute"


class CreateWalletRequest(Request):
    """`customer_id` wins over `external_customer_id`; a price unit brings currency and rate."""

    currency: str | None = None
    customer_id: Identifier | None = None
    external_customer_id: Identifier | None = None
    wallet_type: WalletType = WalletType.PRE_PAID
    name: Name | None = None
    description: Description | None = None
    metadata: dict[str, str] | None = None
    config: WalletConfig | None = None
    conversion_rate: Decimal | None = None
    topup_conversion_rate: Decimal | None = None
    price_unit: Identifier | None = None
    initial_credits_to_load: Decimal | None = None
    initial_credits_to_load_expiry_date: int | None = None
    initial_credits_expiry_date_utc: Moment | None = None
    auto_topup: AutoTopup | None = None
    alert_settings: WalletAlertRequest | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metadata = checked_metadata(self.metadata)
        if self.currency is None and self.price_unit is None:
            raise BadField("currency", "is required")
        if self.currency is not None:
            self.currency = currency_code("currency", self.currency)
        if self.customer_id is None and self.external_customer_id is None:
            raise BadField("customer_id", "or external_customer_id is required")
        if self.conversion_rate:
            checked_rate("conversion_rate", self.conversion_rate)
        if self.topup_conversion_rate is not None:
            checked_rate("topup_conversion_rate", self.topup_conversion_rate)
        checked_credits("initial_credits_to_load", self.initial_credits_to_load, least=Decimal(0))
        self.initial_expiry()

    def initial_expiry(self) -> datetime | None:
        """When the initial credits expire: the exact time, or midnight UTC at the start of the day given."""
        if self.initial_credits_expiry_date_utc is not None or self.initial_credits_to_load_expiry_date is None:
            return self.initial_credits_expiry_date_utc
        try:
            return datetime.strptime(str(self.initial_credits_to_load_expiry_date), "%Y%m%d").replace(tzinfo=UTC)
        except ValueError as error:
            raise BadField("initial_credits_to_load_expiry_date", "must be a day as YYYYMMDD") from error


class UpdateWalletRequest(Request):
    """What is absent stays; metadata and alert settings replace; what is null or empty is as on a new wallet."""

    name: Name | UnsetType | None = UNSET
    description: Description | UnsetType | None = UNSET
    metadata: dict[str, str] | UnsetType | None = UNSET
    config: WalletConfig | UnsetType | None = UNSET
    auto_topup: AutoTopup | UnsetType | None = UNSET
    alert_settings: WalletAlertRequest | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metadata is not UNSET:
            self.metadata = checked_metadata(self.metadata)


class TopUpCoupon(Request):
    coupon_code: Identifier


class TopUpWalletRequest(Request):
    """`credits_to_add` wins over `amount`, which is currency. `coupons` are for credits that are bought by invoice."""

    transaction_reason: TransactionReason
    credits_to_add: Decimal | None = None
    amount: Decimal | None = None
    expiry_date_utc: Moment | None = None
    priority: Priority | None = None
    idempotency_key: Key | None = None
    description: Description | None = None
    metadata: dict[str, str] | None = None
    bonus_credits_to_add: Decimal | None = None
    bonus_credits_expiry_date_utc: Moment | None = None
    effective_date: Moment | None = None
    coupons: Annotated[list[TopUpCoupon], Meta(max_length=20)] | None = None
    force_sync_invoice: bool | None = None
    checkout: CheckoutParams | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metadata = checked_metadata(self.metadata)
        if self.credits_to_add is None and self.amount is None:
            raise BadField("credits_to_add", "or amount is required")
        checked_credits("credits_to_add", self.credits_to_add)
        checked_credits("amount", self.amount)
        checked_credits("bonus_credits_to_add", self.bonus_credits_to_add)


class DebitWalletRequest(Request):
    """A manual debit."""

    credits: Decimal
    transaction_reason: TransactionReason
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=255)]
    description: Description | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metadata = checked_metadata(self.metadata)
        checked_credits("credits", self.credits)
        if self.transaction_reason is not TransactionReason.MANUAL_BALANCE_DEBIT:
            raise BadField("transaction_reason", "must be MANUAL_BALANCE_DEBIT")


class PreviewDebitRequest(Request):
    credits: Decimal

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_credits("credits", self.credits)


class ModifyWalletRequest(Request):
    """What to make of a wallet."""

    modification_type: Literal["prepaid_to_postpaid"]


class VoidTransactionRequest(Request):
    """`force` lets the balance become negative where the credits have been used."""

    force: bool = False
    description: Description | None = None


class StatementQuery(Request):
    """The half-open period of a statement."""

    start_time: Moment
    end_time: Moment

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.end_time <= self.start_time:
            raise BadField("end_time", "must be after start_time")


class WalletListQuery(Request):
    """`status` is that of the wallet."""

    wallet_ids: Ids | None = None
    alert_enabled: bool | None = None
    status: WalletStatus | None = None
    limit: int | None = None
    offset: int | None = None
    order: str | None = None
    sort: str | None = None
    expand: str | None = None

    def list_query(self) -> ListQuery:
        if self.order not in {None, "asc", "desc"}:
            raise BadField("order", "must be asc or desc")
        return ListQuery(
            limit=self.limit,
            offset=self.offset,
            order=self.order,  # type: ignore[arg-type]  # checked above
            sort=self.sort,
            expand=self.expand,
        )


class WalletTransactionQuery(ListQuery):
    """`id` is that of the wallet."""

    id: Identifier | None = None
    type: TransactionType | None = None
    reference_type: ReferenceType | None = None
    reference_id: Identifier | None = None
    expiry_date_before: Moment | None = None
    expiry_date_after: Moment | None = None
    credits_available_gt: Decimal | None = None
    transaction_reason: TransactionReason | None = None
    transaction_status: TransactionStatus | None = None
    priority: int | None = None
    created_by: Identifier | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.reference_type is None) != (self.reference_id is None):
            raise BadField("reference_id", "goes with reference_type, and that with it")
        if self.priority is not None and abs(self.priority) >= 2**31:
            raise BadField("priority", "is out of range")


class CreditBreakdown(Response):
    purchased: DecimalText
    free: DecimalText


class WalletConfigResponse(Response):
    allowed_price_types: list[str]


class CooldownResponse(Response):
    value: int
    unit: str


class AutoTopupResponse(Response, kw_only=True):
    enabled: bool
    threshold: DecimalText | None = None
    amount: DecimalText | None = None
    invoicing: bool
    cooldown: CooldownResponse | None = None
    monthly_limit: DecimalText | None = None


class WalletResponse(Response, kw_only=True):
    """A wallet; what is due from unbilled usage is not in its balance, but in its real-time balance."""

    renamed: ClassVar[dict[str, str]] = {"metadata": "meta"}

    id: str
    customer_id: str
    currency: str
    balance: DecimalText
    credit_balance: DecimalText
    wallet_status: str
    wallet_type: str
    name: str
    description: str
    metadata: dict[str, str]
    config: WalletConfigResponse
    conversion_rate: DecimalText
    topup_conversion_rate: DecimalText
    alert_state: str
    auto_topup: AutoTopupResponse | None = None
    alert_settings: dict[str, Any] | None = None
    real_time_balance: DecimalText | None = None
    real_time_credit_balance: DecimalText | None = None
    credits_available_breakdown: CreditBreakdown | None = None
    message: str | None = None
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str


class WalletBalanceResponse(WalletResponse, kw_only=True):
    """A wallet with its real-time balance, worked out for this answer.

    `current_period_usage` is all that is taken off: usage of the open periods and what is unpaid, as far as the wallet
    is for it.
    """

    balance_updated_at: Timestamp
    current_period_usage: DecimalText
    unpaid_invoices_amount: DecimalText | None = None
    is_cached_fallback: bool


class WalletModificationResponse(Response):
    original_wallet: WalletResponse
    new_wallet: WalletResponse


class ConsumptionResponse(Response):
    credit_transaction_id: str
    credits: DecimalText


class WalletTransactionResponse(Response, kw_only=True):
    """A movement; a debit says what it consumed."""

    renamed: ClassVar[dict[str, str]] = {"metadata": "meta"}

    id: str
    wallet_id: str
    customer_id: str
    currency: str
    type: str
    amount: DecimalText
    credit_amount: DecimalText
    credit_balance_before: DecimalText
    credit_balance_after: DecimalText
    credits_available: DecimalText
    transaction_status: str
    transaction_reason: str
    reference_type: str
    reference_id: str
    description: str
    metadata: dict[str, str]
    idempotency_key: str
    expiry_date: Timestamp | None = None
    priority: int | None = None
    parent_transaction_id: str | None = None
    conversion_rate: DecimalText | None = None
    topup_conversion_rate: DecimalText | None = None
    consumption_breakdown: list[ConsumptionResponse] | None = None
    customer: CustomerResponse | None = None
    created_by_user: UserResponse | None = None
    wallet: WalletResponse | None = None
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str


class StatementResponse(Response):
    """What a wallet had, what moved it, oldest first, and what it had then."""

    wallet: WalletResponse
    start_time: Timestamp
    end_time: Timestamp
    opening_credit_balance: DecimalText
    opening_balance: DecimalText
    closing_credit_balance: DecimalText
    closing_balance: DecimalText
    credits_added: DecimalText
    credits_taken: DecimalText
    transactions: list[WalletTransactionResponse]


class TopUpWalletResponse(Response):
    """`invoice_id` is of the invoice that sells the credits."""

    wallet_transaction: WalletTransactionResponse
    wallet: WalletResponse
    invoice_id: str | None = None
    checkout_session: CheckoutSessionResponse | None = None


class DebitPreviewResponse(Response):
    """What a manual debit would consume now; `overdraft` is what would make the balance negative."""

    credits: DecimalText
    amount: DecimalText
    credit_balance_before: DecimalText
    credit_balance_after: DecimalText
    overdraft: DecimalText
    consumption_breakdown: list[ConsumptionResponse]


class WalletConsumptionPartResponse(Response):
    """What of an invoice a wallet pays, and the lots that it takes for it."""

    wallet_id: str
    amount: DecimalText
    credits: DecimalText
    consumption_breakdown: list[ConsumptionResponse]


class InvoiceConsumptionResponse(Response):
    """What an invoice takes of wallets: `applied` off it when it is issued, `paid` when it is collected."""

    invoice_id: str
    applied: list[WalletConsumptionPartResponse]
    paid: list[WalletConsumptionPartResponse]
    amount_left: DecimalText


ListWalletsResponse = Page[WalletResponse]
ListWalletTransactionsResponse = Page[WalletTransactionResponse]
