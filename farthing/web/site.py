"""All pages under one roof: what the application registers."""

from __future__ import annotations

from litestar import Router
from litestar.types import ControllerRouterHandler

from farthing.web.account import OwnAccount
from farthing.web.answers import error_page
from farthing.web.assets import asset, favicon
from farthing.web.catalogue import Catalogue
from farthing.web.clock import TestClock
from farthing.web.configuration import SettingsPages
from farthing.web.customers import Customers
from farthing.web.duties import Duties
from farthing.web.events import Events
from farthing.web.invoices import Invoices
from farthing.web.keys import Keys
from farthing.web.overview import Overview
from farthing.web.passwords import SettingPasswords
from farthing.web.portal_pages import Portal, PortalLinks
from farthing.web.sign_in import SigningIn
from farthing.web.subscriptions import Subscriptions
from farthing.web.team import Team

DASHBOARD: tuple[ControllerRouterHandler, ...] = (
    SigningIn,
    SettingPasswords,
    OwnAccount,
    Team,
    Overview,
    Customers,
    Invoices,
    Subscriptions,
    Catalogue,
    Events,
    Keys,
    SettingsPages,
    TestClock,
    Duties,
    PortalLinks,
)

site = Router(
    "/",
    route_handlers=[*DASHBOARD, Portal, asset, favicon],
    exception_handlers={Exception: error_page},
)
"""The pages, whose errors are pages."""
