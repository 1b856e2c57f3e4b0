"""Integrations: what an environment is connected to, where that reports, its keys, and whether it works."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from litestar import Controller, Response, get, post
from litestar.response import Redirect
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, InvalidOperation, NotFound
from farthing.identity.tables import EnvironmentType
from farthing.payments.integration_schemas import CreateConnectionRequest, UpdateConnectionRequest
from farthing.payments.integrations import connections
from farthing.payments.integrations.gateways import COLLECTORS
from farthing.payments.integrations.marketplaces import MARKETPLACES
from farthing.payments.providers.registry import TEST_MODE, is_test
from farthing.payments.shared_by_routes import provide_gateways
from farthing.payments.tables import Connection, ProviderType
from farthing.settings import Settings
from farthing.storage.queries.rows import find
from farthing.transfer.connection_trial import try_connection
from farthing.web.access.visitors import Visitor, changes, prepares, shows, visitor_of
from farthing.web.forms.fields import FieldKind, FormField, FormSection, Sections, when
from farthing.web.forms.filled import FilledForm
from farthing.web.forms.pages import (
    Confirmation,
    FormPage,
    answer_form,
    confirm_page,
    form_page,
    made_once,
    typed,
)
from farthing.web.forms.reading import creation_of
from farthing.web.rendering.answers import HttpRequest, done, refused, render
from farthing.web.rendering.words.provider_names import PROVIDER_NAMES

PAGE = "/integrations"
MOST_SHOWN = 100
_CRUMBS = ((PAGE, "Integrations"),)
_SECRETS = "encrypted_secret_data"
_SIMULATED = "simulated"
_TOLD = "Collects for subscriptions with an agreement, and is told every hour what their usage came to"
_USES: Mapping[ProviderType, str] = MappingProxyType(
    {
        ProviderType.S3: "Takes exports",
        ProviderType.LOCAL: "Takes exports",
        ProviderType.AWS_MARKETPLACE: _TOLD,
        ProviderType.GCP_MARKETPLACE: _TOLD,
        ProviderType.AZURE_MARKETPLACE: _TOLD,
    }
)
_KEPT = "Left blank, it stays as it is"


def _secret(name: str, label: str, hint: str = "", longest: int = 2000) -> FormField:
    return FormField(f"{_SECRETS}.{name}", label, FieldKind.SECRET, hint, longest=longest)


_AWS_KEYS = (
    FormField(f"{_SECRETS}.aws_access_key_id", "Access key"),
    _secret("aws_secret_access_key", "Secret access key"),
)
_KEYS: Mapping[ProviderType, tuple[FormField, ...]] = MappingProxyType(
    {
        ProviderType.STRIPE: (
            _secret("secret_key", "Secret key", "Begins with sk_ or rk_"),
            _secret("webhook_secret", "Webhook secret", "Begins with whsec_; without it no webhook is believed"),
            FormField(f"{_SECRETS}.publishable_key", "Publishable key", hint="Begins with pk_"),
            FormField(f"{_SECRETS}.account_id", "Account", hint="Begins with acct_"),
        ),
        ProviderType.S3: _AWS_KEYS,
        ProviderType.AWS_MARKETPLACE: (
            *_AWS_KEYS,
            FormField(
                f"{_SECRETS}.aws_role_arn", "Role", hint="ARN of the role that the key takes on to report, if any"
            ),
            FormField(f"{_SECRETS}.aws_external_id", "External id", hint="Where the role asks for one", longest=1224),
            FormField("sync_config.aws_marketplace.region", "Region", hint="us-east-1 if left blank"),
        ),
        ProviderType.GCP_MARKETPLACE: (
            _secret("service_account_key", "Key of the service account", "The content of its JSON file", 8000),
        ),
        ProviderType.AZURE_MARKETPLACE: (
            FormField(f"{_SECRETS}.tenant_id", "Directory (tenant)", hint="Where the application is registered"),
            FormField(f"{_SECRETS}.client_id", "Application (client)"),
            _secret("client_secret", "Client secret"),
        ),
    }
)
"""What each system is entered with. An account at Stripe is known by its secret key alone."""


@dataclass(frozen=True, slots=True)
class ShownConnection:
    """A connection as the list has it."""

    row: Connection
    provider: str
    state: str
    use: str
    webhook: str
    """Where its system reports to; empty for one that reports nothing."""
    records: bool
    """Whether usage is recorded for it."""


class IntegrationPages(Controller):
    """Connections."""

    path = PAGE
    include_in_schema = False

    @get("/", guards=[shows("connection")])
    async def all(self, request: HttpRequest, session: AsyncSession, services: Composition) -> Response[str]:
        """The systems that are connected."""
        query = select(Connection).where(Connection.status == Status.PUBLISHED)
        rows = await session.scalars(query.order_by(Connection.created_at, Connection.id).limit(MOST_SHOWN))
        base_url, key_id = services.part(Settings).base_url, provide_gateways(services).safe.key_id
        return render(request, "integrations.html", connections=[_shown(row, base_url, key_id) for row in rows])

    @get("/new", guards=[prepares("connection")])
    async def begin(self, request: HttpRequest) -> Response[str]:
        """The form of a new connection."""
        return form_page(request, _NEW, FilledForm(_new_form(visitor_of(request))))

    @post("/new", guards=[changes("connection")])
    async def create(
        self, request: HttpRequest, session: AsyncSession, clock: Clock, services: Composition
    ) -> Response[Any]:
        """Connect to a system."""
        given, sections = typed(request), _new_form(visitor_of(request))

        async def make() -> tuple[str, str]:
            body = creation_of(sections, given)
            if body.pop(_SIMULATED, False) and given.get("provider_type") == ProviderType.STRIPE:
                body["metadata"] = {"mode": TEST_MODE}
            asked = convert(body, CreateConnectionRequest)
            row = await connections.create(session, provide_gateways(services).safe, asked)
            return PAGE, f"{row.name} is connected."

        save = partial(made_once, request, session, clock.now(), make)
        return await answer_form(request, _NEW, sections, given, save)

    @get("/{connection_id:str}/edit", guards=[prepares("connection")])
    async def edit(self, connection_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The form of another name and new keys; those that are stored are not shown."""
        row = await _live(session, connection_id)
        return form_page(request, _edit_page(row), FilledForm(_edit_form(row), {"name": row.name}))

    @post("/{connection_id:str}/edit", guards=[changes("connection")])
    async def change(
        self, connection_id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[Any]:
        """Give a connection another name, or keys that take the place of those it had."""
        row = await _live(session, connection_id)
        given, sections, page = typed(request), _edit_form(row), _edit_page(row)

        async def save() -> Redirect:
            asked = convert(creation_of(sections, given), UpdateConnectionRequest)
            await connections.update(session, provide_gateways(services).safe, connection_id, asked)
            return done(request, PAGE, "Saved.")

        return await answer_form(request, page, sections, given, save)

    @post("/{connection_id:str}/try", guards=[changes("connection")])
    async def try_it(
        self, connection_id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[str]:
        """Ask the system behind a connection for something harmless, and say what came back."""
        gateways, settings = provide_gateways(services), services.part(Settings)
        try:
            trial = await try_connection(session, gateways, settings, connection_id)
        except FarthingError as error:
            return await refused(request, PAGE, error)
        if not trial.works:
            return await refused(request, PAGE, InvalidOperation(trial.words))
        return done(request, PAGE, f"{trial.words}.")

    @get("/{connection_id:str}/disconnect", guards=[prepares("connection")])
    async def ask_disconnect(self, connection_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """What disconnecting means."""
        row = await _live(session, connection_id)
        consequences = ["Its keys are forgotten. It can be connected again, with the keys entered anew."]
        if row.provider_type in COLLECTORS:
            consequences.append("Nothing is charged through it any more, and what it reports is refused.")
            consequences.append("Payments that wait for its word stay open until it is connected again.")
        elif row.provider_type in {ProviderType.S3, ProviderType.LOCAL}:
            consequences.append("Exports that are scheduled to it fail.")
        elif row.provider_type.value in MARKETPLACES:
            consequences.append("It is told nothing of usage; what is recorded waits until it is connected again.")
        page = Confirmation(f"Disconnect {row.name}", _CRUMBS, "Disconnect it", consequences)
        return confirm_page(request, page)

    @post("/{connection_id:str}/disconnect", guards=[changes("connection")])
    async def disconnect(self, connection_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """End a connection, and forget its keys."""
        try:
            await connections.remove(session, connection_id)
        except FarthingError as error:
            return await refused(request, PAGE, error)
        return done(request, PAGE, "It is disconnected, and its keys are forgotten.")


_NEW = FormPage("Connect a system", _CRUMBS, "Connect it", "What is entered here is encrypted, and never shown again.")


async def _live(session: AsyncSession, connection_id: str) -> Connection:
    row = await find(session, Connection, connection_id)
    if row.status is not Status.PUBLISHED:
        raise NotFound("No such connection")
    return row


def _shown(row: Connection, base_url: str, key_id: str) -> ShownConnection:
    collects = row.provider_type in COLLECTORS
    state = _SIMULATED if is_test(row.meta) else "active"
    if row.credentials and row.credentials_key_id != key_id:
        state = "keys lost"  # sealed with another master key: they can only be entered again
    webhook = f"{base_url}/v1/webhooks/{row.provider_type.value}/{row.tenant_id}/{row.environment_id}"
    return ShownConnection(
        row=row,
        provider=PROVIDER_NAMES.get(row.provider_type, row.provider_type.value.replace("_", " ").capitalize()),
        state=state,
        use="Collects payments" if collects else _USES.get(row.provider_type, ""),
        webhook=webhook if collects else "",
        records=row.provider_type.value in MARKETPLACES,
    )


def _new_form(visitor: Visitor) -> Sections:
    stripe = when("provider_type", ProviderType.STRIPE)
    simulated = FormField(
        _SIMULATED,
        "Simulate it: no keys are needed, and no money moves",
        FieldKind.TICK,
        only_when=stripe,
    )
    may_simulate = visitor.environment.type is not EnvironmentType.PRODUCTION
    system = FormField(
        "provider_type",
        "System",
        FieldKind.CHOICE,
        required=True,
        initial=ProviderType.STRIPE.value,
        options=tuple((provider.value, words) for provider, words in PROVIDER_NAMES.items()),
    )
    name = FormField("name", "Name", required=True, placeholder="Our account", hint="As this page and exports show it")
    return (
        FormSection("System", (system, name, *((simulated,) if may_simulate else ()))),
        *_sections_of_keys(),
    )


def _sections_of_keys() -> Iterable[FormSection]:
    """What is entered for each system; those that are entered with the same share a section."""
    for fields in dict.fromkeys(_KEYS.values()):
        providers = [provider for provider, own in _KEYS.items() if own == fields]
        names = " or ".join(PROVIDER_NAMES[provider] for provider in providers)
        yield FormSection(f"Keys of {names}", fields, only_when=when("provider_type", *providers))


def _edit_form(row: Connection) -> Sections:
    keys = () if is_test(row.meta) else _KEYS.get(row.provider_type, ())
    name = FormSection("Name", (FormField("name", "Name", required=True),))
    return (name, FormSection("New keys", keys, _KEPT + ".")) if keys else (name,)


def _edit_page(row: Connection) -> FormPage:
    return FormPage(f"Change {row.name}", _CRUMBS, "Save")
