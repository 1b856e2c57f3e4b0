"""Answers that are kept for repeats of requests: for a day they may name the customer.

Rule: docs/rules/erasure.md#where-it-is-looked-for
"""

from __future__ import annotations

from contextlib import suppress

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.erasure.personal import PersonalData
from farthing.storage.postgres import scope_of
from farthing.storage.stored_answers import StoredAnswer

BATCH = 200


async def erase_answers(session: AsyncSession, personal: PersonalData) -> int:
    """Erase the person from the answers that the session's environment keeps; how many named it.

    The keys stay, so that nothing is done twice.
    """
    here = StoredAnswer.environment_id == scope_of(session).environment_id
    last, count = "", 0
    while True:
        query = select(StoredAnswer).where(here, StoredAnswer.id > last).order_by(StoredAnswer.id).limit(BATCH)
        answers = (await session.scalars(query)).all()
        if not answers:
            return count
        for answer in answers:
            body, resume_point = _erased(answer.body, personal), _erased(answer.resume_point, personal)
            if (body, resume_point) != (answer.body, answer.resume_point):
                answer.body, answer.resume_point = body, resume_point
                count += 1
        last = answers[-1].id
        await session.flush()


def _erased(content: bytes | None, personal: PersonalData) -> bytes | None:
    """JSON without what names the person; content of another kind is left as it is."""
    if content is None:
        return None
    with suppress(msgspec.DecodeError):
        document = msgspec.json.decode(content)
        erased = personal.erased_document(document)
        if erased != document:
            return msgspec.json.encode(erased)
    return content
