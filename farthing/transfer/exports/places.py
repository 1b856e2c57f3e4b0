"""Where exports go: a folder of the deployment, or a bucket of S3 or of what speaks like it.

Rule: docs/rules/imports-and-exports.md#places
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from farthing.core.errors import InvalidOperation, NotFound, NotImplementedHere
from farthing.notifications.webhooks.delivery.addresses import url_problem
from farthing.notifications.webhooks.delivery.client import ThreadResolver, checked_sockets
from farthing.payments.integrations.credentials import Safe
from farthing.payments.integrations.gateways import sealed_for
from farthing.payments.tables import Connection, ProviderType
from farthing.settings import Settings
from farthing.storage.scope import Scope
from farthing.transfer.schemas import ExportJobConfig

LINK_SECONDS = 30 * 60
PART_BYTES = 16 * 1024 * 1024
_ACCESS_KEY, _SECRET_KEY, _TOKEN = "aws_access_key_id", "aws_secret_access_key", "aws_session_token"


class PlaceFailed(Exception):
    """The file could not be put at its place; the message says why, without secrets."""


class ExportPlace(Protocol):
    """A place for files by their keys."""

    async def put(self, key: str, path: Path) -> str:
        """Put a file there, whole or not at all; where it is then. Raises PlaceFailed."""
        ...

    async def ask(self) -> str:
        """Whether files could be put there, without putting any; what to tell who asks. Raises PlaceFailed."""
        ...

    async def link(self, key: str) -> str | None:
        """An address that opens the file without credentials for half an hour; None where Farthing itself serves it."""
        ...


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A folder of this deployment, with a folder for each environment."""

    folder: Path

    async def put(self, key: str, path: Path) -> str:
        """As above."""
        target = self.path_of(key)
        try:
            await asyncio.to_thread(_replace, path, target)
        except OSError as error:
            raise PlaceFailed(f"the export folder cannot be written: {error.strerror}") from error
        return target.as_uri()

    async def ask(self) -> str:
        """As above."""
        try:
            await asyncio.to_thread(self.folder.mkdir, parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise PlaceFailed(f"the export folder cannot be written: {error.strerror}") from error
        if not os.access(self.folder, os.W_OK):
            raise PlaceFailed("the export folder cannot be written")
        return "The export folder is there and can be written"

    async def link(self, key: str) -> str | None:
        """As above."""
        return None

    def path_of(self, key: str) -> Path:
        """Where a file lies. Raises NotFound for a key that leads out of the folder."""
        path = (self.folder / key).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise NotFound("There is no such file")
        return path


def _replace(source: Path, target: Path) -> None:
    """Copy `source` beside `target` and rename it: nobody sees half of it, and it is on disk."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with source.open("rb") as reading, draft.open("wb") as writing:
            while content := reading.read(PART_BYTES):
                writing.write(content)
            writing.flush()
            os.fsync(writing.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket of S3, or of a server that speaks like it."""

    config: ExportJobConfig
    secrets: Mapping[str, Any]
    allow_private: bool

    async def put(self, key: str, path: Path) -> str:
        """As above: an object appears when its upload is completed. Raises NotImplementedHere."""
        async with self._reached() as client:
            await self._upload(client, key, path)
        return f"s3://{self.config.bucket}/{key}"

    async def ask(self) -> str:
        """As above; asks for the bucket, and puts nothing there. Raises NotImplementedHere."""
        async with self._reached() as client:
            await client.head_bucket(Bucket=self.config.bucket)
        return f"The bucket {self.config.bucket} is there and answers to the key"

    @asynccontextmanager
    async def _reached(self) -> AsyncIterator[Any]:
        """A client whose refusals are told as PlaceFailed. Raises NotImplementedHere."""
        try:
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as error:
            raise _without_s3() from error
        try:
            async with self._client() as client:
                yield client
        except ClientError as error:
            code = error.response.get("Error", {})
            raise PlaceFailed(f"the bucket refused it: {code.get('Code')} {code.get('Message')}") from error
        except (BotoCoreError, OSError, TimeoutError) as error:
            raise PlaceFailed(f"the bucket cannot be reached: {_cause(error)}") from error

    async def _upload(self, client: Any, key: str, path: Path) -> None:
        target = {"Bucket": self.config.bucket, "Key": key}
        options = {"ServerSideEncryption": self.config.encryption.value} if self.config.encryption else {}
        with path.open("rb") as file:
            first = await asyncio.to_thread(file.read, PART_BYTES)
            if len(first) < PART_BYTES:
                await client.put_object(**target, **options, Body=first)
                return
            upload = (await client.create_multipart_upload(**target, **options))["UploadId"]
            parts: list[dict[str, Any]] = []
            try:
                content = first
                while content:
                    number = len(parts) + 1
                    part = await client.upload_part(**target, UploadId=upload, PartNumber=number, Body=content)
                    parts.append({"ETag": part["ETag"], "PartNumber": number})
                    content = await asyncio.to_thread(file.read, PART_BYTES)
                await client.complete_multipart_upload(**target, UploadId=upload, MultipartUpload={"Parts": parts})
            except BaseException:
                await asyncio.shield(client.abort_multipart_upload(**target, UploadId=upload))
                raise

    async def link(self, key: str) -> str | None:
        """As above, signed by the owner of the bucket's key."""
        async with self._client() as client:
            address: str = await client.generate_presigned_url(
                "get_object", Params={"Bucket": self.config.bucket, "Key": key}, ExpiresIn=LINK_SECONDS
            )
        return address

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Any]:
        """A client that connects to no address where exports must not go. Raises NotImplementedHere, PlaceFailed."""
        try:
            from aiobotocore.config import AioConfig
            from aiobotocore.session import get_session
        except ImportError as error:
            raise _without_s3() from error
        endpoint = self.config.endpoint_url
        if endpoint and (problem := url_problem(endpoint, allow_private=self.allow_private)):
            raise PlaceFailed(f"endpoint_url {problem}")
        resolver = ThreadResolver()
        # a bucket's name may stand before the host, and make an address of it that nobody gave as one
        sockets = checked_sockets(allow_private=self.allow_private)
        config = AioConfig(
            connector_args={"resolver": resolver, "socket_factory": sockets},
            connect_timeout=10,
            read_timeout=60,
            retries={"max_attempts": 3, "mode": "standard"},
            signature_version="s3v4",
            s3={"addressing_style": "path" if self.config.use_path_style else "auto"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        client = get_session().create_client(
            "s3",
            region_name=self.config.region or "us-east-1",
            endpoint_url=endpoint or None,
            aws_access_key_id=self.secrets.get(_ACCESS_KEY),
            aws_secret_access_key=self.secrets.get(_SECRET_KEY),
            aws_session_token=self.secrets.get(_TOKEN),
            config=config,
        )
        try:
            async with client as opened:
                yield opened
        finally:
            await resolver.close()


def _without_s3() -> NotImplementedHere:
    return NotImplementedHere(
        "Exports to S3 need the package aiobotocore: install farthing[s3]", {"provider_type": "s3"}
    )


def _cause(error: BaseException) -> str:
    return type(error).__name__


def place_of(connection: Connection, config: ExportJobConfig, settings: Settings, scope: Scope) -> ExportPlace:
    """The place that a connection leads to. Raises InvalidOperation for a connection without one."""
    if connection.provider_type is ProviderType.LOCAL:
        return LocalFolder(local_root(settings) / scope.tenant_id / scope.environment_id)
    if connection.provider_type is not ProviderType.S3:
        raise InvalidOperation(f"Exports go to s3 and local connections, not to {connection.provider_type.value}")
    owner = sealed_for(connection.environment_id, connection.id)
    safe = Safe(settings.master_key())
    secrets = safe.open(connection.credentials, connection.credentials_key_id, owner)
    if not secrets.get(_ACCESS_KEY) or not secrets.get(_SECRET_KEY):
        raise InvalidOperation(f"The connection has no {_ACCESS_KEY} and {_SECRET_KEY}; enter them again")
    return Bucket(config, secrets, settings.transfer_allow_private)


def local_root(settings: Settings) -> Path:
    """The folder of all local exports. Raises InvalidOperation where the deployment has none."""
    folder = settings.export_folder
    if folder is None:
        raise InvalidOperation(
            "This deployment has no folder for exports: set FARTHING_EXPORT_DIR to one that all its processes share"
        )
    return folder
