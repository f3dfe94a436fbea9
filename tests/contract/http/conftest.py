"""One API and one stack for all of these tests: each uses ids of its own."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from operations.stack.home import Home, write_private
from operations.stack.servers import Servers
from operations.stack.settings import load_settings
from tests.conftest import SECRET, delete_topics
from tests.contract.http.door import Door, open_door
from tests.databases import copy_database, drop_database
from topics.runtime.making.topics import apply_topics
from topics.settings import Settings

SOURCES = [
    {"name": "northpay-main", "psp": "northpay", "bank_account": "house"},
    {"name": "house-bank", "kind": "bank", "bank_account": "house"},
]


RATES = {"USD": "1.0825", "BHD": "0.0001"}


@pytest.fixture(scope="session")
def http_stack(servers: Servers, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    name = f"h{secrets.token_hex(5)}"
    copy_database(servers, template, f"tally_{name}")
    home: Path = tmp_path_factory.mktemp(name)
    settings = load_settings(
        kafka=servers.kafka,
        postgres=servers.postgres,
        database=f"tally_{name}",
        topic_prefix=f"{name}.",
        secret=SECRET,
        home=home,
        upstreams={"partner"},
        settlement_sources=SOURCES,
        fx=[{"currency": "EUR", "payout_currency": to, "rate": rate, "spread_bps": 50} for to, rate in RATES.items()],
        # Modules share the topics: a room of one hears of orders that another one placed without any payment.
        stop_at_least=10_000,
    )
    apply_topics(settings)
    yield settings
    delete_topics(settings)
    drop_database(servers, settings.database)


@pytest.fixture(scope="session")
def door(http_stack: Settings) -> Iterator[Door]:
    with open_door(http_stack) as door:
        yield door


@pytest.fixture
def environment(door: Door) -> dict[str, str]:
    """What the commands of a running stack see."""
    settings = door.settings
    home = Home(settings.home)
    write_private(home.state, json.dumps({"api_url": f"http://127.0.0.1:{door.port}"}))
    write_private(home.api_key, door.key + "\n")
    given = {
        "TALLY_HOME": str(settings.home),
        "TALLY_KAFKA": settings.kafka,
        "TALLY_POSTGRES": settings.postgres,
        "TALLY_DATABASE": settings.database,
        "TALLY_TOPIC_PREFIX": settings.topic_prefix,
        "TALLY_SECRET": settings.secret,
        "TALLY_SETTLEMENT_SOURCES": json.dumps(SOURCES),
    }
    return {**{name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}, **given}
