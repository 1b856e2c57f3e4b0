"""Tables of customers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, PrimaryKeyConstraint, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.core.encoding.wire import METADATA_VALUE_LENGTH
from farthing.storage.audited import Audited
from farthing.storage.tables import Base, InEnvironment, Scoped, Tracked, enum_column, lower_case

FORMER_IDS = "old_external_ids"
"""The metadata key under which former external ids are shown."""


class TaxTreatment(StrEnum):
    """Whether invoices to a customer carry tax."""

    TAXABLE = "taxable"
    EXEMPT = "exempt"


class IntegrationEntityType(StrEnum):
    """What can have a mirror image in another system."""

    CUSTOMER = "customer"
    PLAN = "plan"
    INVOICE = "invoice"
    SUBSCRIPTION = "subscription"
    PAYMENT = "payment"
    CREDIT_NOTE = "credit_note"
    ADDON = "addon"
    ITEM = "item"
    ITEM_PRICE = "item_price"
    PRICE = "price"
    INVOICE_LINE_ITEM = "invoice_line_item"
    SUBSCRIPTION_LINE_ITEM = "subscription_line_item"


class Customer(Scoped, Tracked, Base):
    """Somebody who uses what the tenant sells, pays for it, or both."""

    __tablename__ = "customers"
    label = "Customer"
    audit = Audited(
        "customer",
        named_by=("name", "external_id"),
        bookkeeping=frozenset({"erased_at", "documents_kept_until"}),
    )

    external_id: Mapped[str] = mapped_column(String(255))
    """What the tenant calls the customer; events carry it."""
    name: Mapped[str] = mapped_column(String(255))
    email: Mapped[str] = mapped_column(String(320), default="")
    contact: Mapped[str | None] = mapped_column(String(20))
    address_line1: Mapped[str] = mapped_column(String(255), default="")
    address_line2: Mapped[str] = mapped_column(String(255), default="")
    address_city: Mapped[str] = mapped_column(String(100), default="")
    address_state: Mapped[str] = mapped_column(String(100), default="")
    address_postal_code: Mapped[str] = mapped_column(String(20), default="")
    address_country: Mapped[str] = mapped_column(String(2), default="")
    timezone: Mapped[str] = mapped_column(String(64), default="UTC")
    """IANA name; read when a subscription is created, never after."""
    billing_currency: Mapped[str | None] = mapped_column(String(3))
    """The currency the customer prefers to be shown; it forbids no other."""
    tax_id: Mapped[str | None] = mapped_column(String(100))
    """The VAT or other tax number by which e-invoices name the customer."""
    language: Mapped[str | None] = mapped_column(String(2))
    """The language of the customer's mails and portal; None leaves it to the merchant and to browsers."""
    tax_treatment: Mapped[TaxTreatment] = mapped_column(enum_column(TaxTreatment), default=TaxTreatment.TAXABLE)
    contact_persons: Mapped[list[Any]] = mapped_column(default=list)
    former_external_ids: Mapped[list[str]] = mapped_column(default=list)
    """What else the tenant has called the customer, oldest first."""
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)
    erased_at: Mapped[datetime | None]
    """When everything that names the person was written over, but for the documents that the law keeps."""
    documents_kept_until: Mapped[datetime | None]
    """How long an erased customer's documents still name it; None once they do not."""

    __table_args__ = (
        # one published customer per external id; also answers look-ups by external id
        Index(
            "uq_customers_external_id",
            "environment_id",
            "external_id",
            unique=True,
            postgresql_where=text("status = 'published'"),
        ),
        # lists: newest first; the id breaks ties
        Index("ix_customers_newest", "environment_id", "status", "created_at", "id"),
        # search by address; duplicates are legal
        Index("ix_customers_email", "environment_id", "email"),
        # whose documents have been kept long enough
        Index(
            "ix_customers_documents_kept",
            "environment_id",
            "documents_kept_until",
            postgresql_where=text("documents_kept_until IS NOT NULL"),
        ),
        lower_case("billing_currency"),
        CheckConstraint("external_id <> '' AND name <> ''", name="named"),
        CheckConstraint("language IN ('en', 'de', 'fr', 'es', 'hi', 'ja')", name="language_known"),
        CheckConstraint("jsonb_typeof(former_external_ids) = 'array'", name="former_ids_listed"),
    )

    @property
    def shown_metadata(self) -> dict[str, str]:
        """The caller's metadata, with the former external ids, comma-separated, where there are any."""
        return {**self.meta, **former_ids_entry(self.former_external_ids)} if self.former_external_ids else self.meta


def former_ids_entry(former_external_ids: Sequence[str]) -> dict[str, str]:
    """The metadata of a customer that names its former external ids, of which there are some.

    The oldest are left out where a metadata value would grow too long.
    """
    ids = list(former_external_ids)
    while len(",".join(ids)) > METADATA_VALUE_LENGTH and len(ids) > 1:
        ids.pop(0)
    return {FORMER_IDS: ",".join(ids)}


class ExternalIdTenure(InEnvironment, Base):
    """Which customer owns what arrives under an external id: from when it took the id until another customer does.

    Kept by a trigger on `customers`, so that no way of naming a customer can forget it. Both ends are numbers of the
    order of arrival (`farthing.events.ingest.arrival`); what arrived before the first owner is the first owner's.
    """

    __tablename__ = "external_id_tenures"
    label = "Tenure of an external id"

    id = None  # type: ignore[assignment]  # a row is a customer's hold of an external id
    external_id: Mapped[str] = mapped_column(String(255))
    customer_id: Mapped[str] = mapped_column(String(50))
    since_sequence: Mapped[int] = mapped_column(BigInteger)
    until_sequence: Mapped[int | None] = mapped_column(BigInteger)
    taken_sequence: Mapped[int] = mapped_column(BigInteger)
    """When the customer took the id; larger than where its ownership begins if the id was nobody's until then."""

    __table_args__ = (
        # an external id has one owner at a time; answers whose it is now
        Index(
            "uq_external_id_tenures_owner",
            "environment_id",
            "external_id",
            unique=True,
            postgresql_where=text("until_sequence IS NULL"),
        ),
        # to whom the events under an id have belonged
        Index("ix_external_id_tenures_external_id", "environment_id", "external_id"),
        # under which ids a customer's events came
        Index("ix_external_id_tenures_customer", "environment_id", "customer_id"),
    )
    __mapper_args__ = {"primary_key": [external_id, customer_id, since_sequence]}


class CustomerSearchTerm(InEnvironment, Base):
    """A word by which a customer is found: of its name, its e-mail address or an external id, in lower case.

    Kept by a trigger on `customers`. A search is a range of words, because beneath a policy only comparisons of texts
    may use an index.
    """

    __tablename__ = "customer_search_terms"
    label = "Word of a customer"

    id = None  # type: ignore[assignment]  # a row is a word of a customer
    customer_id: Mapped[str] = mapped_column(String(50))
    term: Mapped[str] = mapped_column(Text(collation="C"))

    __table_args__ = (
        PrimaryKeyConstraint("environment_id", "customer_id", "term"),
        # customers with a word that begins so
        Index("ix_customer_search_terms_term", "environment_id", "term", "customer_id"),
    )
    __mapper_args__ = {"primary_key": [customer_id, term]}


class IntegrationMapping(Scoped, Tracked, Base):
    """An entity of ours and its mirror image at a provider."""

    __tablename__ = "integration_mappings"
    label = "Integration mapping"
    audit = Audited("integration_mapping", named_by=("provider_entity_id",), named_after=("entity_id",))

    entity_type: Mapped[IntegrationEntityType] = mapped_column(enum_column(IntegrationEntityType))
    entity_id: Mapped[str] = mapped_column(String(255))
    provider_type: Mapped[str] = mapped_column(String(50))
    provider_entity_id: Mapped[str] = mapped_column(String(255))
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # an entity has one image per provider; also answers "the images of these entities"
        Index(
            "uq_integration_mappings_entity",
            "environment_id",
            "entity_type",
            "entity_id",
            "provider_type",
            unique=True,
            postgresql_where=text("status = 'published'"),
        ),
        # a provider's id stands for one entity of a type; an incoming webhook asks for which
        Index(
            "uq_integration_mappings_image",
            "environment_id",
            "provider_type",
            "entity_type",
            "provider_entity_id",
            unique=True,
            postgresql_where=text("status = 'published'"),
        ),
        # lists: newest first
        Index("ix_integration_mappings_newest", "environment_id", "status", "created_at", "id"),
    )
