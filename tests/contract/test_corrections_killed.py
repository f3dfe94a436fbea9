"""A correction while wallet or ledger is killed between the two → both have booked it once, and what each moved agrees."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from datetime import UTC, datetime

from confluent_kafka import Producer

from consumers.ledger import consumer as ledger
from consumers.wallet import consumer as wallet
from operations.stack.settings import load_settings
from schemas.envelope import Envelope, derive_id, event_type, record_headers
from schemas.events import AnyEvent
from tests.contract.files_running import run, started
from tests.contract.running import wait
from tests.corrections import LOSSES, PAYABLE, correction
from topics.catalog import CORRECTIONS
from topics.runtime.process.host import Host
from topics.settings import Settings

CORRECTIONS_SAID = 40


def run_wallet() -> None:
    host = Host(load_settings())
    host.add_room(wallet.build(load_settings()))
    host.run(["wallet"], None)


def run_ledger() -> None:
    host = Host(load_settings())
    host.add_room(ledger.build(load_settings()))
    host.run(["ledger"], None)


def say(settings: Settings, *events: AnyEvent) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka})
    now = datetime.now(UTC)
    for number, event in enumerate(events):
        id_ = derive_id(f"correction {number}", "test", 0, int(now.timestamp() * 1000))
        headers = record_headers(Envelope(id_, "/tallystick/reconciliation", event_type(type(event)), now))
        producer.produce(
            settings.topic_prefix + CORRECTIONS.name,
            event.model_dump_json(exclude_none=True).encode(),
            event.key.encode(),
            headers=list(headers),
        )
    assert producer.flush(30) == 0


def held(settings: Settings) -> int:
    (found,) = run(settings, "wallet", "SELECT coalesce(sum(available), 0)::bigint FROM wallet.wallets")
    return int(found[0])


def owed(settings: Settings) -> int:
    statement = (
        "SELECT coalesce(sum(b.credits - b.debits), 0)::bigint FROM ledger.balances b JOIN ledger.accounts USING (account_id)"
        " WHERE account LIKE 'seller:%%'"
    )
    (found,) = run(settings, "ledger", statement)
    return int(found[0])


def booked(settings: Settings) -> tuple[int, int]:
    (movements,) = run(settings, "wallet", "SELECT count(*) FROM wallet.movements WHERE kind = 'corrected'")
    (journals,) = run(settings, "ledger", "SELECT count(*) FROM ledger.journals WHERE template = 'corrected'")
    return int(movements[0]), int(journals[0])


def test_whoever_is_killed_between_wallet_and_ledger_both_book_it_once(make_stack: Callable[..., Settings]) -> None:
    settings = make_stack()
    said = [
        correction((PAYABLE, "debit", number), (LOSSES, "credit", number), number=number)
        for number in range(1, CORRECTIONS_SAID + 1)
    ]
    say(settings, *said[:1])
    with started(settings, run_wallet, "before_publish=kill:1") as dying:
        assert dying.wait(60) == -signal.SIGKILL
    assert booked(settings) == (1, 0), "the wallet has it, and the ledger has not"
    say(settings, *said)  # the first again, under its id
    for work, place in ((run_ledger, "before_commit=kill:1"), (run_ledger, "after_commit=kill:1")):
        with started(settings, work, place) as dying:
            assert dying.wait(60) == -signal.SIGKILL
    with started(settings, run_wallet, "after_commit=kill:1") as dying:
        assert dying.wait(60) == -signal.SIGKILL
    with started(settings, run_wallet), started(settings, run_ledger):
        wait("both have all", lambda: booked(settings) == (CORRECTIONS_SAID, CORRECTIONS_SAID))
    total = sum(range(1, CORRECTIONS_SAID + 1))
    assert (held(settings), owed(settings)) == (-total, -total)
    assert run(settings, "ledger", "SELECT count(*) FROM ledger.parked") == [(0,)]


def test_what_does_not_agree_is_a_dead_letter_of_both_rooms_and_books_nothing(
    make_stack: Callable[..., Settings],
) -> None:
    settings = make_stack()
    say(settings, correction(number=7, movements=()))
    dead = "SELECT code FROM {}.parked WHERE state = 'dead'"
    with started(settings, run_wallet), started(settings, run_ledger):
        for room in ("wallet", "ledger"):
            wait("it is given up", lambda room=room: run(settings, room, dead.format(room)) == [("movements_differ",)])  # type: ignore[misc]
    assert booked(settings) == (0, 0)
    assert json.dumps(run(settings, "wallet", "SELECT count(*) FROM wallet.wallets")) == "[[0]]"
