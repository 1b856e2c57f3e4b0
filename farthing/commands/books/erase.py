"""The command `farthing erase`: write over everything that names a customer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import cyclopts
from cyclopts import Parameter

from farthing.commands.running import DataDir, console, read_settings, with_database

if TYPE_CHECKING:
    from farthing.storage.postgres import Database

erase = cyclopts.App(name="erase", help="Erase a person: what names a customer is written over, the books stay whole.")


@erase.default
def erase_customer(
    customer: Annotated[str, Parameter(help="Id of the customer.")],
    environment: Annotated[str, Parameter(help="Id of its environment.")],
    *,
    documents: Annotated[
        Literal["keep", "erase"], Parameter(help="Issued documents: keep until they are old enough, or erase too.")
    ] = "keep",
    yes: Annotated[bool, Parameter(help="Do it; else it is only said what would be done.", negative="")] = False,
    data_dir: DataDir = None,
) -> None:
    """Erase a customer. It cannot be undone."""
    from farthing.erasure.command import erase_from_command_line
    from farthing.erasure.erase import DocumentsChoice

    settings = read_settings(data_dir=data_dir)

    async def task(database: Database) -> int:
        return await erase_from_command_line(
            database, console, environment, customer, DocumentsChoice(documents), does_it=yes
        )

    with_database(settings, task)
