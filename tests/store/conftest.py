"""Real PostgreSQL without topics: for tests of what a room stores."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from operations.stack.servers import Servers
from tests.conftest import SECRET, copy_database, drop_database
from topics.settings import Settings, load_settings


@pytest.fixture
def stored(servers: Servers, template: str) -> Iterator[Settings]:
    """Settings with an empty database of their own."""
    name = f"tally_s{secrets.token_hex(5)}"
    copy_database(servers, template, name)
    yield load_settings(postgres=servers.postgres, database=name, secret=SECRET)
    drop_database(servers, name)
