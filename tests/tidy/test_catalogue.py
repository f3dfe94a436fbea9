"""topics/catalog.py ⇄ the events declared in schemas/: nothing that can be said is left out, nothing is said to nobody."""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from operations.cli.commands.stuck import _own_finder
from operations.pages.flow import page
from operations.stack.home import CHECKOUT
from operations.stack.host import STREAMS, build
from operations.stack.layout import ROOM_PROCESSES
from operations.stack.settings import load_settings
from schemas import break_work, breaks, corrections, events, journals, money_back, payouts, sellers, settlements
from schemas.events import AnyEvent
from tests.tidy.reading import text
from topics import catalog
from topics.catalog import CONSUMERS, PSEUDO_TOPICS, ROOMS, TOPICS, Room, Topic
from topics.runtime.shape.consumer import MiswiredRoom

BASES = {  # what several events share; never said themselves
    breaks.BreakTerms,
    events.Event,
    events.RiskDecided,
    events.RequestEvent,
    events.OperationRequested,
    events.Terms,
    events.WalletMoved,
    money_back.OperationPlaced,
    money_back.OperationStatusChanged,
    money_back.Disputed,
    money_back.Chargeback,
    payouts.PayoutEvent,
    payouts.PayoutTerms,
    payouts.PayoutRiskDecided,
    payouts.PayoutExecuted,
    payouts.ReservationMoved,
    settlements.Settled,
}


def declared() -> set[type[AnyEvent]]:
    """Every event type that schemas/ declares."""
    modules = (break_work, breaks, corrections, events, journals, money_back, payouts, sellers, settlements)
    classes = {kind for module in modules for _, kind in inspect.getmembers(module, inspect.isclass)}
    names = {module.__name__ for module in modules}
    return {kind for kind in classes if kind.__module__ in names and hasattr(kind, "version")} - BASES


def test_every_event_is_said_on_exactly_one_topic() -> None:
    assert Counter(kind for topic in (*TOPICS, *PSEUDO_TOPICS) for kind in topic.says) == dict.fromkeys(declared(), 1)


def test_every_topic_and_room_that_is_written_down_is_listed() -> None:
    written = [value for value in vars(catalog).values() if isinstance(value, Topic | Room)]
    assert {value for value in written if isinstance(value, Topic)} == {*TOPICS, *PSEUDO_TOPICS}
    assert {value for value in written if isinstance(value, Room)} == set(ROOMS)


def drawn(topic: Topic) -> str:
    return f"topic_{topic.name.removesuffix('.v1').replace('-', '_')}"


def test_every_topic_is_heard_by_a_room_or_is_for_readers_outside() -> None:
    heard = {topic for room in ROOMS for topic in room.reads}
    assert [topic.name for topic in TOPICS if topic not in heard and not topic.for_readers] == []


def test_what_readers_outside_are_offered_is_drawn_and_nothing_else() -> None:
    offered = set(re.findall(r"^\| `([a-z-]+\.v1)` ", text(Path("docs/dashboards.md")), re.MULTILINE))
    assert {topic.name for topic in TOPICS if topic.for_readers} == offered
    assert {drawn(topic) for topic in TOPICS if topic.for_readers} == set(re.findall(r"(\w+) --> readers", page()))


def test_the_ways_from_and_to_the_outside_are_drawn() -> None:
    """Requests by HTTP or Kafka, calls to PSPs and their webhooks, webhooks to those who asked for payments."""
    ways = set(re.findall(r"^ +((?:upstream|psps|room_\w+) <?-->.+)$", page(), re.MULTILINE))
    assert {way for way in ways if "|" in way} == {
        "upstream -->|HTTP| room_doors",
        'upstream -->|"payment-requests.#lt;upstream#gt;.v1"| topic_payment_requests',
        'upstream -->|"payout-requests.#lt;upstream#gt;.v1"| topic_payout_requests',
        "psps -->|webhooks| room_doors",
        "room_executor <-->|calls| psps",
        "room_webhooks -->|webhooks| upstream",
    }


def test_names_of_people_are_kept_for_a_week_at_most() -> None:
    with_names = [topic for topic in TOPICS if any("name" in kind.personal for kind in topic.says)]
    assert [topic.name for topic in with_names] == ["payment-requests.v1", "screenings.v1"]
    assert {topic.retention_days for topic in with_names} == {7}


def test_every_room_has_the_same_floor_plan() -> None:
    """A store is one module, or two where it is large: what loads, and what saves."""
    for room in CONSUMERS:
        store = ("loading", "saving") if room.name == "reconciliation" else ("store",)
        for part in ("decide", *store, "consumer"):
            assert importlib.import_module(f"{room.migrations}.{part}").__doc__


def test_every_room_decides_on_exactly_what_it_hears(tmp_path: Path) -> None:
    """An event that is added to the catalogue and to no decider fails here, and the room does not start."""
    for room in CONSUMERS:
        assert build(room.name, load_settings(home=tmp_path, secret="of a test")).room is room


def test_a_room_that_does_not_decide_on_what_it_hears_is_named_with_the_event(tmp_path: Path) -> None:
    wallet = build("wallet", load_settings(home=tmp_path, secret="of a test"))
    more = replace(catalog.EXECUTIONS, says=(*catalog.EXECUTIONS.says, events.RiskCleared))
    with pytest.raises(MiswiredRoom, match=r"wallet: .* consume RiskCleared"):
        replace(wallet, room=replace(catalog.WALLET_ROOM, reads=(more,)))
    with pytest.raises(MiswiredRoom, match=r"wallet: .* decides on PaymentCaptured"):
        replace(wallet, room=replace(catalog.WALLET_ROOM, reads=(catalog.RISK_DECISIONS,)))


def test_lists_of_rooms_name_them_all() -> None:
    rooms = [room.name for room in CONSUMERS]
    assert sorted(name for process in ROOM_PROCESSES for name in process) == sorted([*rooms, *STREAMS])
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    contracts = {each["name"]: each for each in project["tool"]["importlinter"]["contracts"]}
    of_rooms = {room.migrations for room in CONSUMERS if room.migrations.startswith("consumers.")}
    assert set(contracts["no consumer imports another"]["modules"]) == of_rooms


def test_what_a_room_finds_stuck_is_what_the_command_shows(tmp_path: Path) -> None:
    for room in CONSUMERS:
        assert build(room.name, load_settings(home=tmp_path, secret="of a test")).find_stuck is _own_finder(room.name)
