"""What travels, in which form, how often, and how far it is."""

from __future__ import annotations

from enum import StrEnum

from farthing.core.states import StateMachine


class TaskType(StrEnum):
    """Which way the data goes."""

    IMPORT = "IMPORT"
    EXPORT = "EXPORT"


class ImportEntity(StrEnum):
    """What can be imported."""

    EVENTS = "EVENTS"
    PRICES = "PRICES"
    CUSTOMERS = "CUSTOMERS"
    FEATURES = "FEATURES"


class ExportEntity(StrEnum):
    """What can be exported."""

    EVENTS = "events"
    INVOICE = "invoice"
    CREDIT_TOPUPS = "credit_topups"
    CREDIT_USAGE = "credit_usage"
    USAGE_ANALYTICS = "usage_analytics"
    WALLET_DEBITS = "wallet_debits"
    REVENUE_FACTS = "revenue_facts"


class TaskEntity(StrEnum):
    """What a task imports or exports."""

    EVENTS = "EVENTS"
    PRICES = "PRICES"
    CUSTOMERS = "CUSTOMERS"
    FEATURES = "FEATURES"
    EXPORTED_EVENTS = "events"
    INVOICE = "invoice"
    CREDIT_TOPUPS = "credit_topups"
    CREDIT_USAGE = "credit_usage"
    USAGE_ANALYTICS = "usage_analytics"
    WALLET_DEBITS = "wallet_debits"
    REVENUE_FACTS = "revenue_facts"


class FileType(StrEnum):
    """How a file is written. `JSON` is an array of objects, or one object on each line."""

    CSV = "CSV"
    JSON = "JSON"
    PARQUET = "PARQUET"


class ImportFileType(StrEnum):
    """How a file to import is written."""

    CSV = "CSV"
    JSON = "JSON"


class ExportFormat(StrEnum):
    """How an export is written."""

    CSV = "csv"
    PARQUET = "parquet"


class TaskStatus(StrEnum):
    """How far a task is."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


TASK_STATES = StateMachine(
    "task",
    {
        TaskStatus.PENDING: (TaskStatus.PROCESSING, TaskStatus.FAILED),
        TaskStatus.PROCESSING: (TaskStatus.COMPLETED, TaskStatus.FAILED),
        TaskStatus.FAILED: (TaskStatus.PROCESSING,),
    },
)
"""Rule: docs/rules/imports-and-exports.md#how-far-a-task-is"""


class ScheduleInterval(StrEnum):
    """How often a scheduled task runs; `custom` is in the contract, and refused."""

    QUARTER_HOUR = "15MIN"
    HALF_HOUR = "30MIN"
    CUSTOM = "custom"
    HOURLY = "hourly"
    DAILY = "daily"


class ExportCompression(StrEnum):
    """How an export is compressed."""

    NONE = "none"
    GZIP = "gzip"


class ExportEncryption(StrEnum):
    """How the storage is asked to encrypt what it is given."""

    AES256 = "AES256"
    KMS = "aws:kms"
    KMS_DSSE = "aws:kms:dsse"


class MetadataOwner(StrEnum):
    """Whose metadata becomes a column."""

    CUSTOMER = "customer"
    WALLET = "wallet"


class RunMode(StrEnum):
    """Whether a run by hand takes the window of the schedule, or one of its own."""

    AUTOMATIC = "automatic"
    CUSTOM = "custom"
