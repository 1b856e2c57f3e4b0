"""What signing in needs from above."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class ResetMail:
    """How a link to set a password is mailed. A deployment without mail has none, and its pages say so."""

    send: Callable[[AsyncSession, str, str, datetime], Awaitable[None]]
    """Given a transaction, the address, the link and when it ends: have it sent once the transaction commits."""
