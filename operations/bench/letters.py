"""Dead letters of the real payments room, replayed by `tally dlq replay`, interrupted in the middle and run again.

It uses a topic prefix and databases of its own, on the servers of the installation, and deletes both at the end. Risk's
decisions about unknown payments become dead letters; the payments are requested afterwards, so that each replay places one
order. Placed orders are counted on Kafka.
"""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psutil
import psycopg

from operations.auditor.engine.records import reader
from operations.bench import ledger
from operations.bench.ledger import Progress
from schemas.envelope import Envelope, derive_id, event_type, record_headers
from schemas.events import PaymentRequested, RiskCleared
from topics import catalog
from topics.runtime.delivery.apply import apply
from topics.runtime.making.topics import apply_topics, delete_topics
from topics.runtime.shape.consumer import AnyConsumer, Message
from topics.runtime.shape.postgres import connect
from topics.runtime.shape.store import Store
from topics.settings import Settings

BATCH = 500
SILENCE_S_MAX = 60.0
ENDLESS = 10_000_000  # the room's limit while letters are made
TALLY = [sys.executable, "-c", "from operations.cli.main import main; main()"]


@dataclass(frozen=True, slots=True)
class LettersPlan:
    letters: int = 10_000
    rate: int = 5000  # letters a second that the operator allows


def run(
    settings: Settings,
    build: Callable[[Settings], AnyConsumer],
    plan: LettersPlan | None = None,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """→ letters_per_s from the first replay to the last effect, the pause between the two runs included; doubles, lost."""
    plan = plan or LettersPlan()
    admin = ledger._admin_dsn(settings)
    with ExitStack() as stack:
        own = stack.enter_context(ledger._own_settings(settings, ledger.LedgerPlan()))
        own = own.model_copy(update={"stop_at_least": ENDLESS})
        stack.enter_context(ledger._databases(own, admin, progress))
        stack.callback(delete_topics, own)
        apply_topics(own)
        names = [f"c{number}-{secrets.token_hex(4)}" for number in range(plan.letters)]
        _make(own, build(own), names, progress)
        room = stack.enter_context(_room(own))
        with _connected(own) as conn:
            progress("what was said before is published")
            _wait(conn, room, "SELECT NOT EXISTS (SELECT FROM outbox)")
            measured = _replay(own, conn, room, plan, progress)
        return measured | _count(own, names) | {"letters": plan.letters, "rate": plan.rate}


def _make(settings: Settings, consumer: AnyConsumer, names: Sequence[str], progress: Progress) -> None:
    """Make dead letters, and then the payments that they lacked."""
    store = Store(settings, "payments")
    for what, message in (("dead letters", _cleared), ("the payments that they speak of", _requested)):
        progress(what)
        for at in range(0, len(names), BATCH):
            messages = [message(name, number) for number, name in enumerate(names[at : at + BATCH], at)]
            list(apply(store, consumer, messages, None, datetime.now(UTC)))
    store.close()


def _cleared(name: str, number: int) -> Message:
    now = datetime.now(UTC)
    event_id = derive_id(name, "bench", 0, int(now.timestamp() * 1000))
    headers = record_headers(Envelope(event_id, "/tallystick/risk", event_type(RiskCleared), now))
    event = RiskCleared(checkout_id=name, rule="none", list_version="", score=0)
    return Message(
        catalog.RISK_DECISIONS.name, 0, number, name.encode(), event.model_dump_json().encode(), tuple(headers), 1
    )


def _requested(name: str, number: int) -> Message:
    order = {"payment_order_id": name, "seller_account": "seller", "amount": "1.00", "currency": "EUR"}
    body = {
        "checkout_id": name,
        "owner": "bench",
        "buyer_info": {"buyer_account": "buyer"},
        "payment_method": {"token": "tok_visa"},
        "payment_orders": [order],
    }
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_id", name.encode()),
        ("ce_source", b"bench"),
        ("ce_type", event_type(PaymentRequested).encode()),
    )
    stamp = int(time.time() * 1000)
    return Message(catalog.PAYMENT_REQUESTS.name, 0, number, name.encode(), json.dumps(body).encode(), headers, stamp)


@contextmanager
def _room(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """A `tally run payments` process."""
    with (settings.home / "room.log").open("ab") as out:
        room = subprocess.Popen(
            [*TALLY, "run", "payments"], env=_environment(settings), stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
        try:
            yield room
        finally:
            room.terminate()
            room.wait(30)


def _environment(settings: Settings) -> dict[str, str]:
    return ledger._environment(settings) | {"TALLY_STOP_AT_LEAST": str(ENDLESS)}


@contextmanager
def _connected(settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    dsn = settings.dsn("tally_payments")
    with connect(dsn, name="tally bench", schema="payments", autocommit=True) as conn:
        yield conn


def _wait(conn: psycopg.Connection[Any], room: subprocess.Popen[bytes], true: str) -> float:
    """→ the moment. Errors: RuntimeError if the room has ended, or nothing changes for a minute."""
    last, moved_at = None, time.monotonic()
    while True:
        now = time.monotonic()
        row = conn.execute(f"SELECT ({true}), (SELECT count(*) FROM outbox), {_LEFT}").fetchone()
        assert row is not None
        if row[0]:
            return now
        if row[1:] != last:
            last, moved_at = row[1:], now
        if now - moved_at > SILENCE_S_MAX or room.poll() is not None:
            raise RuntimeError(f"the payments room stands still: outbox and letters are {row[1:]}")
        time.sleep(0.1)  # each look costs CPU, too


_LEFT = "(SELECT count(*) FROM parked WHERE state <> 'done')"


def _replay(
    settings: Settings,
    conn: psycopg.Connection[Any],
    room: subprocess.Popen[bytes],
    plan: LettersPlan,
    progress: Progress,
) -> dict[str, Any]:
    """Replay, interrupt in the middle, replay again, until every effect is published."""
    progress("replay, interrupted in the middle")
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # background jobs of a shell ignore the signal, and so do their children
    before = _cpu_s(room)
    first = _tally_replay(settings, plan)
    begun = _wait(conn, room, f"(SELECT count(*) FROM parked WHERE state = 'dead') < {plan.letters}")
    _wait(conn, room, f"(SELECT count(*) FROM parked WHERE state = 'dead') <= {plan.letters // 2}")
    first.send_signal(signal.SIGINT)
    first.wait(30)
    row = conn.execute("SELECT count(*) FROM parked WHERE state = 'dead'").fetchone()
    left = row[0] if row else 0
    progress("the same again")
    second = _tally_replay(settings, plan)
    ended = _wait(conn, room, f"{_LEFT} = 0 AND NOT EXISTS (SELECT FROM outbox)")
    second.wait(30)
    seconds = ended - begun
    return {
        "letters_per_s": round(plan.letters / seconds),
        "seconds": round(seconds, 2),
        "room_cpu_ms_per_letter": round((_cpu_s(room) - before) * 1000 / plan.letters, 2),
        "left_when_interrupted": left,
        "exit_codes": [first.returncode, second.returncode],
    }


def _cpu_s(room: subprocess.Popen[bytes]) -> float:
    """The room's CPU seconds: unlike the clock they do not depend on other load."""
    times = psutil.Process(room.pid).cpu_times()
    return float(times.user + times.system)


def _tally_replay(settings: Settings, plan: LettersPlan) -> subprocess.Popen[bytes]:
    words = ["dlq", "replay", "--room", "payments", "--all", "--rate", str(plan.rate), "--reason", "a benchmark"]
    words += ["--wait", "0"]  # the effects are measured here
    return subprocess.Popen([*TALLY, *words], env=_environment(settings), stdout=subprocess.DEVNULL)


def _count(settings: Settings, names: Sequence[str]) -> dict[str, Any]:
    """The number of distinct records on Kafka, by id: a record published again is no second one."""
    with reader(settings) as reading:
        ends = reading.ends(catalog.PAYMENT_ORDERS)
        said = {(r.key(), dict(r.headers() or ())["ce_id"]) for r in reading.records(ends)}
    placed = Counter(key for key, _ in said)
    return {
        "doubles": sum(number - 1 for number in placed.values()),
        "lost": len({name.encode() for name in names} - set(placed)),
    }
