"""Lists on pages: which page is shown, and how it is sorted, read from the address and bounded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from farthing.web.rendering.answers import HttpRequest

PER_PAGE = 25
LAST_PAGE = 100_000


@dataclass(slots=True)
class Listing:
    """Where a reader is in a list; `total` is filled when it was counted."""

    page: int
    sort: str
    descending: bool
    per_page: int = PER_PAGE
    total: int = 0

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.per_page

    @property
    def first(self) -> int:
        return min(self.offset + 1, self.total)

    @property
    def last(self) -> int:
        return min(self.offset + self.per_page, self.total)


def listing(request: HttpRequest, sorts: Collection[str], default: str, *, descending: bool = True) -> Listing:
    """What the address asks for; whatever makes no sense there reads as the default."""
    wanted = request.query_params.get("page", "1")
    page = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 9 else 1
    sort = request.query_params.get("sort", "")
    order = request.query_params.get("order", "")
    return Listing(
        page=max(1, min(page, LAST_PAGE)),
        sort=sort if sort in sorts else default,
        descending=order == "desc" if sort in sorts and order in {"asc", "desc"} else descending,
    )


def like(words: str) -> str:
    """`words` anywhere in a text, for ILIKE; what is special there is taken literally."""
    safe = words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{safe}%"
