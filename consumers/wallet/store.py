"""The wallet's tables: movements found and wallets locked before deciding; what moved is saved after."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from consumers.wallet.decide import Movement, Purchase, Wallet
from schemas.envelope import EventId
from schemas.events import PaymentCaptured, WalletBalance
from schemas.money import Money
from topics import catalog
from topics.runtime.shape.consumer import Connection, Cursor, Latest, State, Versions
from topics.runtime.shape.store import insert_rows, int_array, text_array

Side = tuple[str, str]  # seller, currency
Change = Wallet | Movement | Purchase


def load(conn: Connection, events: Sequence[Any], now: datetime) -> State:
    """The movements that the batch's orders have, then the wallets, locked last and so for the shortest time.

    Both are asked for before either is read: in a batch that is one round trip.
    """
    captured = [event for event in events if type(event) is PaymentCaptured]
    if not captured:
        return {}
    moved = _moved(conn, [event.payment_order_id for event in captured])
    wallets = _lock(conn, {(event.seller_account, event.net.currency) for event in captured}, now)
    state: State = {movement.key: movement for movement in [_as_movement(*row) for row in moved]}
    return state | {wallet.key: wallet for wallet in wallets}


def _moved(conn: Connection, payment_order_ids: list[str]) -> Cursor:
    return conn.execute(
        "SELECT movement_id::text, kind, subject_id, part, checkout_id, amount, cause_event_id::text, at,"
        " seller_account, currency, available_after, pending_after, reserved_after, wallet_version"
        " FROM movements WHERE subject_id = ANY(%s::text[])",
        [text_array(payment_order_ids)],
    )


def _as_movement(
    movement_id: str,
    kind: Any,
    subject: str,
    part: str,
    checkout: str,
    amount: int,
    cause: str,
    at: datetime,
    *wallet: Any,
) -> Movement:
    after = Wallet(*wallet)
    return Movement(
        movement_id, kind, subject, part, checkout, Money(amount, after.currency), after, EventId(cause), at
    )


def _lock(conn: Connection, sides: set[Side], now: datetime) -> list[Wallet]:
    """Lock the wallets, sorted; a wallet is opened on first use."""
    wanted = sorted(sides)
    locked = _lock_known(conn, wanted)
    if len(locked) < len(wanted):
        known = {(wallet.seller_account, wallet.currency) for wallet in locked}
        _open(conn, [side for side in wanted if side not in known], now)
        locked = _lock_known(conn, wanted)
    return locked


def _lock_known(conn: Connection, sides: Sequence[Side]) -> list[Wallet]:
    rows = conn.execute(
        "SELECT w.seller_account, w.currency, w.available, w.pending, w.reserved, w.version"
        " FROM unnest(%s::text[], %s::text[]) AS t (seller_account, currency)"
        " JOIN wallets w ON w.seller_account = t.seller_account AND w.currency = t.currency"
        " ORDER BY w.seller_account, w.currency FOR UPDATE OF w",
        [text_array(seller for seller, _ in sides), text_array(currency for _, currency in sides)],
    )
    return [Wallet(*row) for row in rows]


def _open(conn: Connection, sides: Sequence[Side], now: datetime) -> None:
    conn.execute(
        "INSERT INTO wallets (seller_account, currency, opened_at)"
        " SELECT seller_account, currency, %s FROM unnest(%s::text[], %s::text[]) AS t (seller_account, currency)"
        " ORDER BY 1, 2 ON CONFLICT DO NOTHING",
        [now, [seller for seller, _ in sides], [currency for _, currency in sides]],
    )


def save(conn: Connection, changes: Sequence[Change]) -> Versions:
    moved = [_movement_row(change) for change in changes if type(change) is Movement]
    insert_rows(conn, _MOVEMENTS, _MOVEMENT_TYPES, moved)
    wallets = _last(changes)
    _write_wallets(conn, wallets)
    _add_purchases(conn, [change for change in changes if type(change) is Purchase])
    return {catalog.WALLET_BALANCES: {wallet.name: wallet.version for wallet in wallets}}


def _last(changes: Iterable[Change]) -> list[Wallet]:
    """Each wallet as the batch leaves it."""
    return list({wallet.key: wallet for wallet in changes if type(wallet) is Wallet}.values())


_MOVEMENTS = (
    "movements (movement_id, kind, subject_id, part, checkout_id, cause_event_id, amount, at, seller_account, currency,"
    " available_after, pending_after, reserved_after, wallet_version)"
)
_MOVEMENT_TYPES = (
    *("uuid", "text", "text", "text", "text", "uuid", "int8", "timestamptz", "text", "text"),
    *("int8", "int8", "int8", "int8"),
)


def _movement_row(m: Movement) -> tuple[object, ...]:
    return (
        *(m.movement_id, m.kind, m.subject_id, m.part, m.checkout_id, m.cause_event_id, m.amount.minor, m.at),
        *(
            m.after.seller_account,
            m.after.currency,
            m.after.available,
            m.after.pending,
            m.after.reserved,
            m.after.version,
        ),
    )


def _write_wallets(conn: Connection, wallets: Sequence[Wallet]) -> None:
    conn.execute(
        "UPDATE wallets w SET available = m.available, pending = m.pending, reserved = m.reserved, version = m.version"
        " FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])"
        " AS m (seller_account, currency, available, pending, reserved, version)"
        " WHERE w.seller_account = m.seller_account AND w.currency = m.currency",
        [
            text_array(wallet.seller_account for wallet in wallets),
            text_array(wallet.currency for wallet in wallets),
            int_array(wallet.available for wallet in wallets),
            int_array(wallet.pending for wallet in wallets),
            int_array(wallet.reserved for wallet in wallets),
            int_array(wallet.version for wallet in wallets),
        ],
    )


def _add_purchases(conn: Connection, purchases: Sequence[Purchase]) -> None:
    """All buyers of the batch in one statement, locked in sorted order."""
    totals: dict[Side, list[int]] = {}
    for purchase in purchases:
        total = totals.setdefault((purchase.buyer_account, purchase.gross.currency), [0, 0])
        total[0] += purchase.gross.minor
        total[1] += 1
    buyers = sorted(totals)
    conn.execute(
        "INSERT INTO buyers (buyer_account, currency, gross_total, orders)"
        " SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[])"
        " ON CONFLICT (buyer_account, currency) DO UPDATE"
        " SET gross_total = buyers.gross_total + excluded.gross_total, orders = buyers.orders + excluded.orders",
        [
            text_array(buyer for buyer, _ in buyers),
            text_array(currency for _, currency in buyers),
            int_array(totals[side][0] for side in buyers),
            int_array(totals[side][1] for side in buyers),
        ],
    )


def latest_balances(conn: Connection, names: Sequence[str]) -> list[Latest]:
    """The wallets as they are now. A name is <seller>:<currency>."""
    sides = [name.rpartition(":") for name in names]
    rows = conn.execute(
        "SELECT w.seller_account, w.currency, w.available, w.pending, w.reserved, w.version"
        " FROM unnest(%s::text[], %s::text[]) AS t (seller_account, currency)"
        " JOIN wallets w ON w.seller_account = t.seller_account AND w.currency = t.currency",
        [text_array(seller for seller, _, _ in sides), text_array(currency for _, _, currency in sides)],
        binary=True,
    )
    return [_as_latest(Wallet(*row)) for row in rows]


def _as_latest(wallet: Wallet) -> Latest:
    event = WalletBalance(
        wallet=wallet.name,
        seller_account=wallet.seller_account,
        available=Money(wallet.available, wallet.currency),
        pending=Money(wallet.pending, wallet.currency),
        reserved=Money(wallet.reserved, wallet.currency),
        balance_version=wallet.version,
    )
    return Latest(wallet.name, wallet.version, event)
