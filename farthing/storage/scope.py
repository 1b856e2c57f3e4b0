"""Whose rows a transaction may see and write."""

from __future__ import annotations

from dataclasses import dataclass

ANY_TENANT = "*"


@dataclass(frozen=True, slots=True)
class Scope:
    """A tenant, one of its environments (or none), and who acts. Row-level security enforces the first two.

    Without an environment only the tenant's own rows (users, environments, keys) are reachable. `SYSTEM` reaches
    those of every tenant and no business row: it is for signing in and for duties that list environments, which
    then open one scoped transaction for each.
    """

    tenant_id: str
    environment_id: str = ""
    user_id: str = ""


SYSTEM = Scope(tenant_id=ANY_TENANT)


def row_level_security(table: str, by: str) -> list[str]:
    """The statements that confine `table` to the scope; `by` is the column that says whose a row is.

    Used by migrations. The comparison is an equality on text, so that an index that leads with the column serves it.
    """
    mine = f"{by} = current_setting('farthing.environment_id', true)"
    if by != "environment_id":
        tenant = "current_setting('farthing.tenant_id', true)"
        mine = f"({by} = {tenant} OR {tenant} = '{ANY_TENANT}')"
    return [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY scope ON {table} USING ({mine}) WITH CHECK ({mine})",
    ]
