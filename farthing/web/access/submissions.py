"""Forms that are sent twice, by a double click or a reload: the first is carried out, the second finds where that led.

What became of a form is a row of the transaction that carried it out, so either both last or neither; whoever comes
second waits at the row until that transaction has ended. Rows are swept with the kept answers of the API.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import ValidationFailed
from farthing.storage.postgres import scope_of
from farthing.storage.stored_answers import StoredAnswer

SEE_OTHER = 303
_COLUMNS = ("tenant_id", "environment_id", "id")


class SentBefore(Exception):
    """The form was carried out before; `path` is where that led."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


async def path_of_earlier(session: AsyncSession, once: str) -> str | None:
    """Where the form that was shown to the session's caller as `once` has led, if it was carried out."""
    body = await session.scalar(select(StoredAnswer.body).where(*_is_row(session, _key(session, once))))
    return None if body is None else body.decode()


async def begin_submission(session: AsyncSession, once: str, now: datetime) -> str:
    """Take the form that was shown to the session's caller as `once`; the key to end it with.

    Raises SentBefore when it was carried out before, ValidationFailed for a form without a name.
    """
    if not once:
        raise ValidationFailed.of("once", "is missing: please open the form again")
    key, scope = _key(session, once), scope_of(session)
    values = {"tenant_id": scope.tenant_id, "environment_id": scope.environment_id, "id": key}
    statement = insert(StoredAnswer).values(**values, fingerprint="", resume_point=b"{}", created_at=now)
    same = statement.on_conflict_do_update(index_elements=_COLUMNS, set_={"fingerprint": StoredAnswer.fingerprint})
    earlier = await session.scalar(same.returning(StoredAnswer.body))
    if earlier is not None:
        raise SentBefore(earlier.decode())
    return key


async def end_submission(session: AsyncSession, key: str, path: str) -> None:
    """Say where a form has led, in the transaction that carried it out."""
    ended = {"status_code": SEE_OTHER, "body": path.encode()}
    await session.execute(update(StoredAnswer).where(*_is_row(session, key)).values(ended))


def _key(session: AsyncSession, once: str) -> str:
    """A blank and the person keep it apart from what clients of the API and other people send."""
    return f" page {hashlib.sha256(f'{scope_of(session).user_id} {once}'.encode()).hexdigest()}"


def _is_row(session: AsyncSession, key: str) -> tuple[ColumnElement[bool], ...]:
    scope = scope_of(session)
    return (
        StoredAnswer.tenant_id == scope.tenant_id,
        StoredAnswer.environment_id == scope.environment_id,
        StoredAnswer.id == key,
    )
