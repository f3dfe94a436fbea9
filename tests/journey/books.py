"""The PSPs' own listings, and every room's views → what does not agree; and what is not finished yet."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, LiteralString

from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from operations.auditor.audit import audit
from tests.journey.shopping import Checkout, captured, refunded, sold
from topics.catalog import CONSUMERS, ROOMS
from topics.runtime.shape.kafka import partitions
from topics.runtime.shape.reading import read
from topics.settings import PspAccount, Settings

Amounts = Counter[tuple[str, str]]
APART = "GBP"  # orders in this currency, with ids that begin with it, are compared by their sums alone: `owed_by_psps`


@dataclass(frozen=True)
class Charge:
    """A charge as the PSP lists it. `amount` in minor units: the two PSPs count our currencies alike."""

    order_id: str
    amount: int
    currency: str


def charges(account: PspAccount) -> list[Charge]:
    """All that the PSP has taken money for, from its own listing."""
    if account.adapter == "northpay":
        listed = _pages(f"{account.url}/v1/charges?limit=1000", {"Authorization": f"Bearer {account.api_key}"})
        return [
            Charge(one["metadata"]["order"], one["amount"], one["currency"].upper())
            for one in listed
            if one["status"] == "succeeded" and one["currency"] != APART.lower()
        ]
    listed = _pages(f"{account.url}/payments/list?pageSize=1000", {"x-api-key": account.api_key})
    return [
        Charge(one["merchantOrderReference"], one["amount"]["value"], one["amount"]["currency"])
        for one in listed
        if one["resultCode"] == "Authorised" and one["amount"]["currency"] != APART
    ]


def refunds(account: PspAccount) -> list[Charge]:
    """All that the PSP has given back, from its own listing."""
    if account.adapter == "northpay":
        listed = _pages(f"{account.url}/v1/refunds?limit=1000", {"Authorization": f"Bearer {account.api_key}"})
        return [
            Charge(one["metadata"]["order"], one["amount"], one["currency"].upper())
            for one in listed
            if one["status"] == "succeeded" and one["currency"] != APART.lower()
        ]
    listed = _pages(f"{account.url}/modifications/list?type=Refund&pageSize=1000", {"x-api-key": account.api_key})
    return [
        Charge(one["merchantOrderReference"], one["amount"]["value"], one["amount"]["currency"])
        for one in listed
        if one["resultCode"] == "Done" and one["amount"]["currency"] != APART
    ]


def _pages(url: str, headers: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    after = ""
    while True:
        with urllib.request.urlopen(urllib.request.Request(url + after, headers=dict(headers)), timeout=10) as reply:
            page = json.load(reply)
        listed = next(page[name] for name in ("data", "payments", "modifications") if name in page)
        yield from listed
        if page.get("has_more"):
            after = f"&starting_after={listed[-1]['id']}"
        elif page.get("nextPageToken"):
            after = f"&pageToken={page['nextPageToken']}"
        else:
            return


def discrepancies(settings: Settings, asked: Sequence[Checkout]) -> list[str]:
    """Empty where PSPs, attempts, payments, wallets and ledger all tell the story of `asked`, to the cent."""
    wanted = Counter((o.id, o.gross.minor, o.gross.currency) for o in captured(asked))
    taken = Counter((c.order_id, c.amount, c.currency) for psp in settings.psps for c in charges(psp))
    back = [(o, refund) for o, refund in refunded(asked)]
    given = Counter((f"{one.order_id}-back", one.amount, one.currency) for psp in settings.psps for one in refunds(psp))
    net = Counter((o.id, o.net.minor, o.net.currency) for o in captured(asked))
    net += Counter((o.id, -o.net_back.minor, o.net.currency) for o, _ in back)
    wanted_back = Counter((o.refund_id, refund.minor, refund.currency) for o, refund in back)
    found = [
        *_differ("charges at the PSPs", wanted, taken),
        *_differ("attempts captured", wanted, _tuples(settings, "executor", _ATTEMPTS)),
        *_differ("payment events", Counter(c.id for c in asked), _singles(settings, "payments", _PAYMENTS)),
        *_differ("orders paid", wanted, _tuples(settings, "payments", _ORDERS)),
        *_differ("movements", net, _tuples(settings, "wallet", _MOVEMENTS)),
        *_differ("wallets", sold(asked), _amounts(settings, "wallet", _WALLETS)),
        *_differ("refunds at the PSPs", wanted_back, given),
        *_differ("refunds done", wanted_back, _tuples(settings, "payments", _REFUNDS)),
        *_differ("journals", _posted(asked), _singles(settings, "ledger", _JOURNALS)),
        *_differ("receivables", _at_psps(settings), _amounts(settings, "ledger", _RECEIVABLE)),
        *_differ("payables", sold(asked), _amounts(settings, "ledger", _PAYABLE)),
        *_differ("fees", _fees(asked), _amounts(settings, "ledger", _FEES)),
    ]
    found += [f"trial balance: {row}" for row in read(settings, "ledger", _UNBALANCED)]
    return found


_ATTEMPTS: LiteralString = "SELECT payment_order_id, gross_minor, currency FROM attempt_view WHERE state = 'captured'"
_PAYMENTS: LiteralString = "SELECT checkout_id FROM payment_view"
_ORDERS: LiteralString = (
    "SELECT payment_order_id, gross, currency FROM order_view WHERE payment_order_status = 'SUCCESS'"
)
_MOVEMENTS: LiteralString = "SELECT payment_order_id, amount, currency FROM movement_view"
_REFUNDS: LiteralString = (
    "SELECT operation_id, amount, currency FROM operation_view WHERE kind = 'refund' AND status = 'succeeded'"
    " AND wallet_updated AND ledger_updated"
)
_REFUNDS_ENDED: LiteralString = (
    "SELECT operation_id FROM operation_view WHERE status = 'failed' OR status = 'succeeded' AND wallet_updated"
    " AND ledger_updated"
)
_WALLETS: LiteralString = "SELECT seller_account, currency, available + pending + reserved AS sum FROM wallet_view"
_JOURNALS: LiteralString = "SELECT payment_order_id FROM journal_view"
_PAYABLE: LiteralString = (
    "SELECT split_part(account, ':', 2), currency, credits - debits FROM account_view"
    " WHERE account LIKE 'seller:%%:payable'"
)
_RECEIVABLE: LiteralString = (
    "SELECT split_part(account, ':', 2) AS psp, currency, debits - credits AS owed FROM account_view"
    " WHERE account LIKE 'psp:%%:receivable'"
)
_FEES: LiteralString = (
    "SELECT '' AS whose, currency, credits - debits AS sum FROM account_view WHERE account = 'platform:fees'"
)
_UNBALANCED: LiteralString = "SELECT * FROM trial_balance_view WHERE debits <> credits"


def _tuples(settings: Settings, room: str, statement: LiteralString) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(row.values()) for row in read(settings, room, statement) if row["currency"] != APART)


def _singles(settings: Settings, room: str, statement: LiteralString) -> Counter[str]:
    values = (value for row in read(settings, room, statement) for value in row.values())
    return Counter(value for value in values if not value.startswith(APART))


def _amounts(settings: Settings, room: str, statement: LiteralString) -> Amounts:
    rows = [tuple(row.values()) for row in read(settings, room, statement)]
    return Counter({(str(whose), str(c)): int(amount) for whose, c, amount in rows if amount and c != APART})


def receivables(settings: Settings) -> Amounts:
    """What PSPs owe us by the ledger, in every currency."""
    rows = read(settings, "ledger", _RECEIVABLE)
    return Counter({(row["psp"], row["currency"]): int(row["owed"]) for row in rows if row["owed"]})


def owed_by_psps(settings: Settings, orders: Iterable[str]) -> Amounts:
    """What they owe for these orders by their true books: captured, less refunded, less disputes opened or lost."""
    owed: Amounts = Counter()
    for order in orders:
        books = controls(settings, f"operations?reference={order}")
        in_parts = any(each["op"] == "capture" for each in books["operations"])
        for charge in controls(settings, f"charges?reference={order}")["charges"]:
            if charge["status"] == "succeeded" and not in_parts:
                owed[charge["psp"], charge["currency"]] += charge["amount"]
        for each in books["operations"]:
            sign = {"capture": 1, "refund": -1}.get(each["op"], 0) if each["status"] == "succeeded" else 0
            owed[each["psp"], each["currency"]] += sign * each["amount"]
        for each in books["disputes"]:
            if each["status"] in ("opened", "lost"):
                owed[each["psp"], each["currency"]] -= each["amount"]
    return Counter({key: sum_ for key, sum_ in owed.items() if sum_})


def controls(settings: Settings, path: str, body: Mapping[str, object] | None = None) -> Any:
    """What the simulator's controls answer. Errors: AssertionError, where they refuse it."""
    port = settings.psps[0].url.rpartition(":")[2].partition("/")[0]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/control/{path}", None if body is None else json.dumps(body).encode()
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{path} {body!r}: {error.read()!r}") from error


def _at_psps(settings: Settings) -> Amounts:
    sums: Amounts = Counter()
    for psp in settings.psps:
        for charge in charges(psp):
            sums[psp.name, charge.currency] += charge.amount
        for refund in refunds(psp):
            sums[psp.name, refund.currency] -= refund.amount
    return Counter({whose: sum_ for whose, sum_ in sums.items() if sum_})


def _fees(asked: Sequence[Checkout]) -> Amounts:
    sums: Amounts = Counter()
    for order in captured(asked):
        if order.fee:
            sums["", order.fee.currency] += order.fee.minor - order.fee_back.minor
    return Counter({whose: sum_ for whose, sum_ in sums.items() if sum_})


def _posted(asked: Sequence[Checkout]) -> Counter[str]:
    return Counter(o.id for o in captured(asked)) + Counter(o.id for o, _ in refunded(asked))


def _differ(what: str, wanted: Counter[Any], found: Counter[Any]) -> list[str]:
    missing, extra = wanted - found, found - wanted
    return [f"{what}: missing {list(missing.items())[:5]}, extra {list(extra.items())[:5]}"] if missing or extra else []


# ── what is not finished ─────────────────────────────────────────────────────────────────────────────────────────────


def unfinished(settings: Settings, asked: Sequence[Checkout]) -> list[str]:
    """What the house still has to do: first its payments, then whatever else lies about."""
    done = _singles(settings, "payments", "SELECT checkout_id FROM payment_view WHERE is_payment_done")
    missing = {checkout.id: checkout.token for checkout in asked if checkout.id not in done}
    if missing:
        return [f"{len(missing)} of {len(asked)} payments not done, such as {list(missing.items())[:5]}"]
    ended = _singles(settings, "payments", _REFUNDS_ENDED)
    waiting = [order.refund_id for order, _ in refunded(asked) if order.refund_id not in ended]
    if waiting:
        return [f"{len(waiting)} refunds not done, such as {waiting[:5]}"]
    return lying_about(settings) or unheard(settings)


def lying_about(settings: Settings) -> list[str]:
    """Open calls, letters, rows of outboxes, stops, a line each."""
    lines = _rows(settings, "executor", _CALLS)
    for room in ROOMS:
        lines += _rows(settings, room.name, "SELECT id, cardinality(keys), created_at FROM outbox")
        lines += _rows(settings, room.name, "SELECT topic, count(*) FROM latest_outbox GROUP BY 1")
        lines += _rows(settings, room.name, _LETTERS)
        lines += _rows(settings, room.name, "SELECT code, reason FROM stops WHERE lifted_at IS NULL")
    return lines


def open_orders(settings: Settings) -> list[str]:
    """Orders that are not through yet, with what the executor knows of them."""
    orders = read(settings, "payments", _OPEN_ORDERS)
    ids = [order["payment_order_id"] for order in orders]
    attempts = read(settings, "executor", "SELECT * FROM attempt_view WHERE payment_order_id = ANY(%s)", [ids])
    return [f"payments: {row}" for row in orders] + [f"executor: {row}" for row in attempts]


_OPEN_ORDERS: LiteralString = (
    "SELECT payment_order_id, payment_order_status, detail, wallet_updated, ledger_updated FROM order_view"
    " WHERE payment_order_status <> 'FAILED' AND NOT (wallet_updated AND ledger_updated) LIMIT 10"
)
_CALLS: LiteralString = (
    "SELECT state, act, act_no, count(*), min(due_at) AS due, min(lease_until) AS leased FROM call_view"
    " WHERE state <> 'ended' GROUP BY 1, 2, 3"
)
_LETTERS: LiteralString = (
    "SELECT topic, state, code, min(error) AS error, count(*) FROM parked WHERE state IN ('parked', 'dead')"
    " GROUP BY 1, 2, 3"
)


def _rows(settings: Settings, room: str, statement: LiteralString) -> list[str]:
    return [f"{room}: {row}" for row in read(settings, room, statement)]


def unheard(settings: Settings) -> list[str]:
    """Records that a room has not taken yet."""
    ends = _ends(settings)
    behind = []
    for room in CONSUMERS:
        rows = read(settings, room.name, "SELECT topic, partition, next_offset FROM positions")
        at = {(row["topic"], row["partition"]): row["next_offset"] for row in rows}
        topics = [topic.name for topic in room.reads if topic.on_kafka]
        behind += [
            f"{room.name} has heard {at.get(where, 0)} of {end} of {where}"
            for where, end in ends.items()
            if where[0] in topics and at.get(where, 0) < end
        ]
    return behind


def _ends(settings: Settings) -> dict[tuple[str, int], int]:
    heard = {topic for room in CONSUMERS for topic in room.reads if topic.on_kafka}
    admin = AdminClient({"bootstrap.servers": settings.kafka, "log_level": 0})  # gone, it answers nobody
    asked = partitions(admin, [settings.topic_prefix + topic.name for topic in heard])
    found = admin.list_offsets(dict.fromkeys(asked, OffsetSpec.latest()), request_timeout=5)  # type: ignore[no-untyped-call]
    cut = len(settings.topic_prefix)
    return {(where.topic[cut:], where.partition): future.result(10).offset for where, future in found.items()}


def drops(settings: Settings) -> int:
    """Repeats that the rooms' inboxes have dropped."""
    rows = chain.from_iterable(read(settings, room.name, "SELECT sum(duplicates) FROM positions") for room in CONSUMERS)
    return sum(int(row["sum"] or 0) for row in rows)


def verdict(settings: Settings) -> list[str]:
    """What the auditor finds wrong; empty is `tally verify` saying ok."""
    return [f"{check.name}: {check.detail}" for check in audit(settings).checks if not check.ok]
