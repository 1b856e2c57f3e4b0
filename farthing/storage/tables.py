"""What every table shares: naming of constraints, the scope's columns, the life of a row, exact money columns."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import CheckConstraint, Column, DateTime, Enum, FromClause, MetaData, Numeric, String, Table, event
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, Mapper, mapped_column

from farthing.core.enums import Status
from farthing.storage.audited import Audited

Money = Numeric(24, 8)
"""Amounts up to 10^15 in any currency, with room for sums of them."""
Exact = Numeric()
"""Amounts that no rule rounds, with all their digits."""
CreditAmount = Numeric(24, 9)
Quantity = Numeric(38, 15)


class Base(DeclarativeBase):
    """Root of all tables. `label` names the entity in messages, `not_found_key` in error details."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: DateTime(timezone=True),
        Decimal: Money,
        dict[str, str]: JSONB,
        dict[str, Any]: JSONB,
        list[str]: JSONB,
        list[Any]: JSONB,
    }
    label: ClassVar[str] = "Row"
    """What the entity is called in messages, for example "Invoice"."""
    audit: ClassVar[Audited | None] = None
    """How changes of rows appear in the activity log; None for a table whose rows are no entities of the books."""

    id: Mapped[str] = mapped_column(String(50), primary_key=True)


@event.listens_for(Mapper, "after_configured")
def _order_flushes() -> None:
    """Let a flush write the rows that are referred to before those that refer to them.

    SQLAlchemy takes that order from relationships, which no table here has; else it goes by the names of modules.
    """
    places: dict[FromClause, int] = {table: place for place, table in enumerate(Base.metadata.sorted_tables)}
    for mapper in Base.registry.mappers:
        mapper._sort_key = f"{places[mapper.local_table]:04} {mapper.class_.__name__}"


class Words(Enum):
    """The type of a column whose values are those of a StrEnum."""

    cache_ok = True


def enum_column(enum: type[StrEnum]) -> Words:
    """A column type that stores a StrEnum's values as text; each column of it gets a constraint that checks them."""
    return Words(
        enum,
        native_enum=False,
        length=40,
        create_constraint=False,
        values_callable=lambda e: [member.value for member in e],
        validate_strings=True,
    )


@event.listens_for(Column, "after_parent_attach")
def _check_words(column: Column[Any], parent: Any) -> None:
    """Give a column of words the constraint that names its values, when it becomes part of a table."""
    if isinstance(parent, Table) and isinstance(column.type, Words):
        values = ", ".join(f"'{value}'" for value in column.type.enums)
        parent.append_constraint(CheckConstraint(f"{column.name} IN ({values})", name=f"{column.name}_known"))


def lower_case(column: str = "currency") -> CheckConstraint:
    """Currencies are stored in lower case, so that no query folds case."""
    return CheckConstraint(f"{column} = lower({column}) AND length({column}) = 3", name=f"{column}_lower")


class OfTenant:
    """Rows that belong to a tenant and no environment; row-level security by `tenant_id`."""

    tenant_id: Mapped[str] = mapped_column(String(50))


class Scoped:
    """Rows that belong to one environment of one tenant; row-level security by `environment_id`.

    Both columns are filled from the session's scope when a row is flushed.
    """

    tenant_id: Mapped[str] = mapped_column(String(50))
    environment_id: Mapped[str] = mapped_column(String(50))


class InEnvironment:
    """The same for rows that come by the million and need no tenant of their own: the environment implies it."""

    environment_id: Mapped[str] = mapped_column(String(50))


class Tracked:
    """Soft deletion and authorship; filled when a row is flushed, from the session's clock and scope."""

    status: Mapped[Status] = mapped_column(enum_column(Status), default=Status.PUBLISHED)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(50), default="")
    updated_by: Mapped[str] = mapped_column(String(50), default="")


def owner_column(table: str) -> str | None:
    """The column whose value confines a table to a scope; None for a table that is nobody's."""
    if table == "tenants":
        return "id"
    for mapper in Base.registry.mappers:
        if getattr(mapper.local_table, "name", None) == table:
            if issubclass(mapper.class_, (Scoped, InEnvironment)):
                return "environment_id"
            if issubclass(mapper.class_, OfTenant):
                return "tenant_id"
    return None


def package_of(table: str) -> str:
    """The module whose class maps a table; "" for a table no class maps."""
    for mapper in Base.registry.mappers:
        if getattr(mapper.local_table, "name", None) == table:
            return mapper.class_.__module__
    return ""
