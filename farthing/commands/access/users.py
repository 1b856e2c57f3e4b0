"""The commands about people who sign in: `farthing users list`, `password`, `remove-second-factor`, `sign-out`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from farthing.commands.running import DataDir, console, read_settings, with_database

if TYPE_CHECKING:
    from farthing.storage.postgres import Database

users = cyclopts.App(name="users", help="People who sign in, of every tenant.")

Email = Annotated[str, Parameter(help="The person's email.")]


@users.command(name="list")
def list_(*, data_dir: DataDir = None) -> None:
    """List everybody who can sign in."""
    from rich.table import Table

    from farthing.identity.sign_in import operator

    settings = read_settings(data_dir=data_dir)

    async def task(database: Database) -> None:
        table = Table("id", "email", "name", "tenant", "roles", "password", "second factor", "last seen")
        for row in await operator.list_people(database):
            table.add_row(*row)
        console.print(table)

    with_database(settings, task)


@users.command
def password(
    email: Email,
    *,
    stdin: Annotated[
        bool, Parameter(help="Set the password that is the first line of standard input.", negative="")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Print a link with which a person sets a password, once, within a day; or set one given by standard input."""
    from farthing.identity.sign_in import operator

    settings = read_settings(data_dir=data_dir)

    async def task(database: Database) -> None:
        if stdin:
            await operator.set_password_of(database, email, sys.stdin.readline().rstrip("\r\n"))
            console.print(f"the password of {email} is set; every session has ended")
            return
        link = await operator.link_for(database, settings, email)
        console.print(link.url)
        console.print(f"works once, until {link.expires_at:%Y-%m-%d %H:%M} UTC")

    with_database(settings, task)


@users.command(name="remove-second-factor")
def remove_second_factor(email: Email, *, data_dir: DataDir = None) -> None:
    """Let a person who lost the authenticator app sign in with the password alone."""
    from farthing.identity.sign_in import operator

    settings = read_settings(data_dir=data_dir)

    async def task(database: Database) -> None:
        removed = await operator.remove_second_factor_of(database, email)
        console.print(f"{email} signs in with the password alone" if removed else f"{email} has no second factor")

    with_database(settings, task)


@users.command(name="sign-out")
def sign_out(email: Email, *, data_dir: DataDir = None) -> None:
    """End every session of a person."""
    from farthing.identity.sign_in import operator

    settings = read_settings(data_dir=data_dir)

    async def task(database: Database) -> None:
        console.print(f"ended {await operator.sign_out_everywhere(database, email)} sessions of {email}")

    with_database(settings, task)
