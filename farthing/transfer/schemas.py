"""Requests and responses of tasks and scheduled tasks, with the names and fields of the wire."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from farthing.api.queries.lists import Page
from farthing.core.encoding.wire import BadField, Moment, Request, Response, Timestamp
from farthing.core.enums import Status
from farthing.storage.queries.listing import ListQuery
from farthing.transfer.enums import (
    ExportCompression,
    ExportEncryption,
    ExportEntity,
    ExportFormat,
    FileType,
    ImportEntity,
    ImportFileType,
    MetadataOwner,
    RunMode,
    ScheduleInterval,
    TaskEntity,
    TaskStatus,
    TaskType,
)

FARTHING = "farthing"
"""The provider of files that were uploaded here."""
MOST_METADATA_COLUMNS = 50

Id = Annotated[str, Meta(min_length=1, max_length=50)]
Line = Annotated[str, Meta(max_length=255)]
Url = Annotated[str, Meta(min_length=1, max_length=2048)]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()=-]+(?:/[A-Za-z0-9!_.*'()=-]+)*")
_REGION = re.compile(r"[a-z0-9-]{1,50}")
_OF_ENTITIES = {
    ExportEntity.CREDIT_USAGE: frozenset({MetadataOwner.CUSTOMER, MetadataOwner.WALLET}),
    ExportEntity.USAGE_ANALYTICS: frozenset({MetadataOwner.CUSTOMER}),
}


class CreateTaskRequest(Request):
    """An import: of an upload, or of a file that is fetched."""

    task_type: TaskType
    entity_type: ImportEntity
    file_type: ImportFileType
    file_provider: Line | None = None
    upload_id: Line | None = None
    file_url: Url | None = None
    file_name: Line | None = None
    metadata: dict[str, Any] | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task_type is TaskType.EXPORT:
            raise BadField("task_type", "must be IMPORT; exports are scheduled tasks: POST /v1/tasks/scheduled")
        if self.file_url:
            if self.upload_id or self.file_provider:
                raise BadField("file_url", "must not be given together with file_provider and upload_id")
            return
        if not self.file_provider:
            raise BadField("file_provider", f"is required: '{FARTHING}' with the id of an upload, or file_url instead")
        if self.file_provider != FARTHING:
            raise BadField("file_provider", f"must be '{FARTHING}', not '{self.file_provider}'")
        if not self.upload_id:
            raise BadField("upload_id", "is required: the id that POST /v1/tasks/uploads answered")


class TemporalWorkflowResult(Response):
    """What was begun, and by which id it is known."""

    message: str
    workflow_id: str
    run_id: str


class UploadResponse(Response):
    """A file that was uploaded, to be imported once before it expires."""

    upload_id: str
    size: int
    expires_at: Timestamp


class TaskResponse(Response):
    """One import, or one run of an export."""

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta", "workflow_id": "id"}

    id: str
    workflow_id: str
    tenant_id: str
    environment_id: str
    task_type: TaskType
    entity_type: TaskEntity
    file_type: FileType
    file_url: str
    task_status: TaskStatus
    processed_records: int
    successful_records: int
    failed_records: int
    metadata: dict[str, Any]
    dry_run: bool
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    file_name: str | None = None
    scheduled_task_id: str | None = None
    total_records: int | None = None
    progress_percent: int | None = None
    error_summary: str | None = None
    start_time: Timestamp | None = None
    end_time: Timestamp | None = None
    started_at: Timestamp | None = None
    completed_at: Timestamp | None = None
    failed_at: Timestamp | None = None


class ListTasksResponse(Page[TaskResponse]):
    """A page of tasks."""

    items: list[TaskResponse]


class TaskQuery(ListQuery):
    """Query string of the list of tasks."""

    task_type: TaskType | None = None
    entity_type: TaskEntity | None = None
    task_status: TaskStatus | None = None
    scheduled_task_id: str | None = None
    created_by: str | None = None


class TaskProblemResponse(Response):
    """Why a row of an import failed. `column` is empty where no single one is to blame."""

    renamed: ClassVar[Mapping[str, str]] = {"row": "row_number", "line": "line_number", "column": "column_name"}

    row: int
    line: int
    column: str
    reason: str


class ListTaskProblemsResponse(Page[TaskProblemResponse]):
    """A page of what is wrong with the rows of an import."""

    items: list[TaskProblemResponse]


class UpdateTaskStatusRequest(Request):
    """The status to set by hand."""

    task_status: TaskStatus


class SuccessResponse(Response):
    """What was done."""

    message: str


class TaskDownloadResponse(Response):
    """Where a file is, for half an hour."""

    download_url: str


class ExportMetadataField(Request):
    """A key of metadata that becomes a column."""

    entity_type: MetadataOwner
    field_key: Annotated[str, Meta(min_length=1, max_length=64)]
    column_name: Annotated[str, Meta(max_length=255)] | None = None


class ExportJobConfig(Request, omit_defaults=True):
    """Where an export goes, and how it is written. Connections to local folders need nothing of it."""

    bucket: Annotated[str, Meta(max_length=63)] | None = None
    region: Annotated[str, Meta(max_length=50)] | None = None
    key_prefix: Annotated[str, Meta(max_length=500)] | None = None
    compression: ExportCompression | None = None
    encryption: ExportEncryption | None = None
    endpoint_url: Url | None = None
    use_path_style: bool | None = None
    export_metadata_fields: Annotated[list[ExportMetadataField], Meta(max_length=MOST_METADATA_COLUMNS)] | None = None
    file_format: ExportFormat | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bucket and (not _BUCKET.fullmatch(self.bucket) or ".." in self.bucket):
            raise BadField("bucket", "must be 3 to 63 lower-case letters, digits, dots and hyphens")
        if self.region and not _REGION.fullmatch(self.region):
            raise BadField("region", "must be a region such as eu-central-1")
        if self.key_prefix:
            self.key_prefix = self.key_prefix.strip("/")
        if self.key_prefix and (
            not _PREFIX.fullmatch(self.key_prefix) or {".", ".."} & set(self.key_prefix.split("/"))
        ):
            raise BadField("key_prefix", "must be names separated by /, of letters, digits and ! _ . * ' ( ) = -")

    @property
    def format(self) -> ExportFormat:
        return self.file_format or ExportFormat.CSV

    def require_metadata_of(self, entity: ExportEntity) -> None:
        """Refuse columns that this kind of export has no place for. Raises BadField."""
        allowed = _OF_ENTITIES.get(entity, frozenset())
        names: set[str] = set()
        for place, field in enumerate(self.export_metadata_fields or ()):
            where = f"job_config.export_metadata_fields[{place}]"
            if field.entity_type not in allowed:
                fits = " or ".join(sorted(allowed)) or "left out"
                raise BadField(f"{where}.entity_type", f"must be {fits} for exports of {entity.value}")
            name = field.column_name or field.field_key
            if name in names:
                raise BadField(f"{where}.column_name", f"'{name}' is the name of another column")
            names.add(name)


class CreateScheduledTaskRequest(Request):
    """What to export, how often, and where to."""

    connection_id: Id
    entity_type: ExportEntity
    interval: ScheduleInterval
    job_config: ExportJobConfig
    enabled: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.interval is ScheduleInterval.CUSTOM:
            raise BadField("interval", "must be 15MIN, 30MIN, hourly or daily")
        self.job_config.require_metadata_of(self.entity_type)


class UpdateScheduledTaskRequest(Request):
    """Whether it runs by itself."""

    enabled: bool


class ScheduledTaskResponse(Response):
    """What is exported again and again."""

    id: str
    tenant_id: str
    environment_id: str
    connection_id: str
    entity_type: ExportEntity
    interval: ScheduleInterval
    enabled: bool
    job_config: ExportJobConfig
    exported_until: Timestamp
    status: Status
    created_at: Timestamp
    updated_at: Timestamp


class ListScheduledTasksResponse(Page[ScheduledTaskResponse]):
    """A page of scheduled tasks."""

    items: list[ScheduledTaskResponse]


class ScheduledTaskQuery(ListQuery):
    """Query string of the list of scheduled tasks."""

    connection_id: str | None = None
    entity_type: ExportEntity | None = None
    interval: ScheduleInterval | None = None
    enabled: bool | None = None


class TriggerForceRunRequest(Request):
    """The window to export; without one, the last whole interval."""

    start_time: Moment | None = None
    end_time: Moment | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.start_time is None) != (self.end_time is None):
            missing = "start_time" if self.start_time is None else "end_time"
            raise BadField(missing, "is required together with the other end of the window")


class TriggerForceRunResponse(Response):
    """The run that was begun, and its window."""

    workflow_id: str
    message: str
    start_time: Timestamp
    end_time: Timestamp
    mode: RunMode
