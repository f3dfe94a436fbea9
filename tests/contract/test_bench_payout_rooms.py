"""The floor of `tally bench payouts`: pay-outs through the rooms alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from operations.bench import ledger, payout_rooms
from operations.stack.host import build
from operations.stack.servers import Servers
from operations.stack.settings import load_settings
from tests.conftest import SECRET
from tests.databases import copy_database
from topics.payout_accounts import PayoutProviderAccount

RULES = {"approvals": [{"currency": "EUR", "above": "1.00", "persons": 1}], "destination_cooling_s": 0}
HARBOUR = PayoutProviderAccount(
    name="harbour", adapter="harbour", url="http://127.0.0.1:1", api_key="k", bank_account="main", countries={"DE"}
)


def test_the_rooms_alone_book_every_pay_out(
    servers: Servers, template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "migrate", lambda settings, admin: copy_database(servers, template, settings.database))
    where = {"kafka": servers.kafka, "postgres": servers.postgres, "postgres_admin": servers.postgres_admin}
    settings = load_settings(home=tmp_path, secret=SECRET, payouts=RULES, payout_providers=(HARBOUR,), **where)
    assert payout_rooms.run(settings, build, 40) > 0
