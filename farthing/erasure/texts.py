"""Rows that name a customer, read in batches and written over: by the one function of the database that may.

Rule: docs/rules/erasure.md#where-it-is-looked-for
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import RowMapping, TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.erasure.belongings import PersonalTable, Stage, personal_tables
from farthing.erasure.personal import PersonalData
from farthing.storage.postgres import scope_of

BATCH = 500
_ERASE = text("SELECT erase_texts(:environment_id, :table, :keys, :columns, CAST(:rows AS jsonb))")
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_LONGEST_INTEGER = 18
Columns = Mapping[str, Any]
Parameters = Mapping[str, Any]


async def erase_stage(
    session: AsyncSession, stage: Stage, owned: Sequence[str], personal: PersonalData
) -> Counter[str]:
    """Erase the person from every table of a stage; how many rows named it, by table."""
    erased: Counter[str] = Counter()
    for table in personal_tables(stage):
        belongs = " OR ".join(f"{link} = ANY(:owned)" for link in table.links) or "true"
        sought = personal if table.links else personal.unmistakably()
        count = await erase_rows(session, table, f"({belongs})", {"owned": list(owned)}, sought)
        if count:
            erased[table.name] = count
    return erased


async def erase_rows(
    session: AsyncSession, table: PersonalTable, condition: str, parameters: Parameters, personal: PersonalData
) -> int:
    """Erase the person from the rows of a table that fulfil a condition in SQL; how many named it."""

    def without_person(row: Columns) -> Columns:
        texts = {name: row[name] and personal.erased_text(row[name]) for name in table.texts}
        return texts | {name: personal.erased_document(row[name], name) for name in table.documents}

    return await rewrite_rows(
        session,
        table,
        f"{condition} AND ({_names_somebody(table)})",
        {**parameters, **_patterns(personal)},
        without_person,
    )


async def rewrite_rows(
    session: AsyncSession,
    table: PersonalTable,
    condition: str,
    parameters: Parameters,
    rewrite: Callable[[Columns], Columns],
    read_too: Sequence[str] = (),
) -> int:
    """Write the texts and documents of rows as `rewrite` says, which may read more columns; how many changed."""
    environment_id = scope_of(session).environment_id
    last: Columns = {}
    count = 0
    while True:
        query = _batch_after(table, last, condition, read_too)
        given = {**parameters, **last, "environment_id": environment_id}
        rows = [_decoded(table, row) for row in (await session.execute(query, given)).mappings()]
        if not rows:
            return count
        changed = [
            {**_key_of(table, row), **columns_now}
            for row in rows
            if (columns_now := rewrite(row)) != {name: row[name] for name in table.columns}
        ]
        if changed:
            count += len(changed)
            await _write(session, environment_id, table, changed)
        last = {f"last_{name}": value for name, value in _key_of(table, rows[-1]).items()}


def _batch_after(table: PersonalTable, last: Columns, condition: str, read_too: Sequence[str]) -> TextClause:
    """The query of the next rows, by their keys; `last` has the key of the row before them."""
    read = (*table.keys, *table.texts, *read_too, *(f"CAST({name} AS text) AS {name}" for name in table.documents))
    keys = ", ".join(table.keys)
    after = f"AND ({keys}) > ({', '.join(f':{name}' for name in last)})" if last else ""
    return text(
        f"SELECT {', '.join(read)} FROM {table.name} WHERE environment_id = :environment_id {after} AND {condition} "
        f"ORDER BY {keys} LIMIT {BATCH}"
    )


def _key_of(table: PersonalTable, row: Columns) -> Columns:
    return {name: row[name] for name in table.keys}


async def _write(session: AsyncSession, environment_id: str, table: PersonalTable, rows: Sequence[Columns]) -> None:
    parameters = {
        "environment_id": environment_id,
        "table": table.name,
        "keys": list(table.keys),
        "columns": list(table.columns),
        "rows": _ENCODER.encode(rows).decode(),
    }
    await session.execute(_ERASE, parameters)


def _decoded(table: PersonalTable, row: RowMapping) -> dict[str, Any]:
    """A row with its documents decoded, their numbers exact."""
    documents = {name: row[name] and _loads(row[name]) for name in table.documents}
    return {**row, **documents}


def _loads(document: str) -> Any:
    return json.loads(document, parse_float=Decimal, parse_int=_exact)


def _exact(digits: str) -> int | Decimal:
    """A whole number of any length, as the encoder takes it."""
    return int(digits) if len(digits) < _LONGEST_INTEGER else Decimal(digits)


def _names_somebody(table: PersonalTable) -> str:
    """Whether a row has a text that may name the person, so that only such rows are read."""
    texts = (f"{name} ILIKE ANY(:patterns)" for name in table.texts)
    documents = (f"CAST({name} AS text) ILIKE ANY(:document_patterns)" for name in table.documents)
    return " OR ".join((*texts, *documents))


def text_patterns(personal: PersonalData) -> list[str]:
    """Patterns of ILIKE of which one fits each text that has something to erase."""
    return [f"%{_escaped(text)}%" for text in personal.searched_texts()]


def _patterns(personal: PersonalData) -> dict[str, list[str]]:
    quoted = [f"%{_escaped(json.dumps(text, ensure_ascii=False)[1:-1])}%" for text in personal.searched_texts()]
    pairs = [
        f"%{_escaped(f'{json.dumps(field)}: {json.dumps(text, ensure_ascii=False)}')}%"
        for field, text in sorted(personal.pairs)
    ]
    return {"patterns": text_patterns(personal), "document_patterns": [*quoted, *pairs]}


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
