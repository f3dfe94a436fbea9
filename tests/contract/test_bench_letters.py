"""`tally bench letters` replays dead letters through an interruption."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from operations.bench import ledger
from operations.bench.letters import LettersPlan, run
from operations.stack.host import build
from operations.stack.servers import Servers
from operations.stack.settings import load_settings
from tests.conftest import SECRET
from tests.databases import copy_database


def test_an_interrupted_replay_is_resumed_and_doubles_nothing(
    servers: Servers, template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "migrate", lambda settings, admin: copy_database(servers, template, settings.database))
    where = {"kafka": servers.kafka, "postgres": servers.postgres, "postgres_admin": servers.postgres_admin}
    settings = load_settings(home=tmp_path, secret=SECRET, **where)
    figures = run(settings, partial(build, "payments"), LettersPlan(letters=200, rate=200))
    assert (figures["doubles"], figures["lost"], figures["letters"]) == (0, 0, 200)
    assert figures["exit_codes"] == [130, 0]
    assert 0 < figures["left_when_interrupted"] < 200
