"""The configuration as people write it, in Junos's words: one model with all statements, defaults and ranges.

The models say what may stand in a file, each value by itself; what two statements must not say together is in
`twoway.config.crosschecks`, and what is made of them in `twoway.config.planning`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from twoway.config.model.client import Client
from twoway.config.model.routes import Routes  # noqa: TC001  (pydantic reads annotations)
from twoway.config.model.server import Server
from twoway.config.model.statements import Presence, Statements
from twoway.config.model.surroundings import Api, Notifications, Store
from twoway.config.model.values import NAME, Integer, Text


class Configuration(Statements):
    """What twoway is to do: measure (client), answer (server), track routes (routes), tell (notifications), keep
    (store), be asked (api)."""

    client: Client = Field(default_factory=Client)
    """What is measured from here."""
    server: Server = Field(default_factory=Server)
    """What is answered here."""
    routes: Annotated[Routes | None, Presence()] = None
    """Static routes that follow what is measured; none unless written."""
    notifications: Notifications = Field(default_factory=Notifications)
    """Who is told of what happens."""
    store: Annotated[Store | None, Presence()] = None
    """Where results are kept; unless written, nothing survives a restart."""
    api: Api = Field(default_factory=Api)
    """Who may ask, and where."""
    workers: Annotated[int, Integer(1, 256)] = 1
    """Threads that send probes."""
    variables: dict[Annotated[str, NAME], Annotated[str, Text(r"[^\x00-\x1f\x7f]{0,255}", "a line of text")]] = Field(
        default_factory=dict, examples=[{"site": "fra"}]
    )
    """Free words that are shown beside the version."""
