"""One flush writes rows of several tables: those that are referred to first, wherever their classes are defined.

What a checkout prepares is such a flush of an invoice with its lines: see tests/checkout.
"""

from __future__ import annotations

from sqlalchemy.orm import configure_mappers

from farthing.storage.tables import Base
from farthing.wiring import wire


def test_what_is_referred_to_is_written_before_what_refers_to_it() -> None:
    wire()  # every table is known afterwards
    configure_mappers()
    mappers = {mapper.local_table: mapper for mapper in Base.registry.mappers}
    references = [
        (mapper, mappers[key.column.table])
        for table, mapper in mappers.items()
        for key in table.foreign_keys
        if key.column.table in mappers and key.column.table is not table
    ]
    assert len(references) > 50
    late = [
        f"{mapper.class_.__name__} before {referred.class_.__name__}"
        for mapper, referred in references
        if mapper._sort_key <= referred._sort_key
    ]
    assert not late
