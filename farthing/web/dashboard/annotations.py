"""Notes and attachments on the pages of customers and invoices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Controller, Response, get, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.errors import as_domain_error
from farthing.api.work import unit_of_work
from farthing.core.caller import READ, WRITE
from farthing.core.encoding.file_names import content_disposition
from farthing.core.errors import FarthingError, PermissionDenied, ValidationFailed
from farthing.core.ids import new_ulid
from farthing.invoices.annotations.annotating import (
    AnnotationSubject,
    attach_file,
    attachments_of,
    content_of,
    notes_of,
    remove_attachment,
    remove_note,
    write_note,
)
from farthing.invoices.annotations.file_kinds import KINDS, LARGEST_FILE_BYTES
from farthing.invoices.annotations.tables import AnnotatedType, AttachmentRow, InternalNote
from farthing.storage.queries.rows import find
from farthing.web.access.upload_form import UploadForm
from farthing.web.access.visitors import changes, form_of, shows, uploads, visitor_of
from farthing.web.rendering.answers import HttpRequest, done, refused

_FILE_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"


async def annotations_of(session: AsyncSession, entity_type: AnnotatedType, entity_id: str) -> dict[str, Any]:
    """What the part of a page that shows annotations needs."""
    return {
        "entity_type": entity_type.value,
        "entity_id": entity_id,
        "notes": await notes_of(session, entity_id),
        "attachments": await attachments_of(session, entity_id),
        "endings": ",".join(KINDS),
        "largest": f"{LARGEST_FILE_BYTES // 2**20} MB",
        "once": new_ulid(),
    }


class AnnotationPages(Controller):
    """Notes and attachments."""

    path = "/"
    include_in_schema = False

    @post("/internal-notes", guards=[changes("customer")])
    async def write(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Write a note."""
        given = form_of(request)
        here = _page_of(given)
        try:
            await write_note(session, _about(request, given), given.get("body", ""))
        except FarthingError as error:
            return await refused(request, here, error)
        return done(request, here, "The note is written. Customers do not see it.")

    @post("/internal-notes/{note_id:str}/remove", guards=[changes("customer")])
    async def remove(self, note_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Take a note away."""
        note = await find(session, InternalNote, note_id)
        _require(request, WRITE, note.entity_type)
        await remove_note(session, note_id)
        return done(request, _path(note.entity_type, note.entity_id), "The note is gone.")

    @post("/attachments", guards=[uploads("customer")])
    async def attach(self, request: HttpRequest) -> Response[Any]:
        """Store a file. However slowly it arrives, the database is not asked before it is there."""
        form, work = UploadForm(request), unit_of_work(request)
        await form.read_fields()
        here = _page_of(form.fields)
        try:
            about = _about(request, form.fields)
            content = await _read(form)
            await work.admit()
            await attach_file(work.session, about, form.file_name, content)
        except (FarthingError, msgspec.ValidationError) as error:
            return await refused(request, here, as_domain_error(error))
        return done(request, here, "The file is attached. Customers do not see it.")

    @get("/attachments/{attachment_id:str}", guards=[shows("customer")])
    async def download(self, attachment_id: str, request: HttpRequest, session: AsyncSession) -> Response[bytes]:
        """A file, as a download that no browser shows as a page."""
        attachment = await find(session, AttachmentRow, attachment_id)
        _require(request, READ, attachment.entity_type)
        headers = {
            "content-disposition": content_disposition("attachment", attachment.file_name),
            "content-security-policy": _FILE_POLICY,
            "x-content-type-options": "nosniff",
            "cross-origin-resource-policy": "same-origin",
            "cache-control": "no-store",
        }
        return Response(await content_of(session, attachment), media_type=attachment.media_type, headers=headers)

    @post("/attachments/{attachment_id:str}/remove", guards=[changes("customer")])
    async def discard(self, attachment_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Take a file away."""
        attachment = await find(session, AttachmentRow, attachment_id)
        _require(request, WRITE, attachment.entity_type)
        await remove_attachment(session, attachment_id)
        return done(request, _path(attachment.entity_type, attachment.entity_id), "The file is gone.")


async def _read(form: UploadForm) -> bytes:
    """The file, as far as it may be stored. Raises ValidationFailed for a larger one."""
    gathered = bytearray()
    async for piece in form.content():
        gathered += piece
        if len(gathered) > LARGEST_FILE_BYTES:
            raise ValidationFailed.of("file", f"must be at most {LARGEST_FILE_BYTES // 2**20} MB")
    return bytes(gathered)


def _about(request: HttpRequest, given: Mapping[str, str]) -> AnnotationSubject:
    visitor = visitor_of(request)
    entity_type = _type(given)
    _require(request, WRITE, entity_type)
    return AnnotationSubject(
        entity_type,
        given.get("entity_id", "")[:50],
        visitor.caller.user_id,
        visitor.name,
        given.get("once", "")[:50] or new_ulid(),
    )


def _type(given: Mapping[str, str]) -> AnnotatedType:
    return AnnotatedType.INVOICE if given.get("entity_type") == AnnotatedType.INVOICE else AnnotatedType.CUSTOMER


def _require(request: HttpRequest, action: str, entity_type: AnnotatedType) -> None:
    """What is written about an invoice is for those who may see, or change, invoices."""
    if not visitor_of(request).may(action, entity_type.value):
        raise PermissionDenied("Your role does not allow this")


def _page_of(given: Mapping[str, str]) -> str:
    return _path(_type(given), given.get("entity_id", ""))


def _path(entity_type: AnnotatedType, entity_id: str) -> str:
    safe = quote(entity_id, safe="")
    return f"/invoices/{safe}" if entity_type is AnnotatedType.INVOICE else f"/customers/{safe}"
