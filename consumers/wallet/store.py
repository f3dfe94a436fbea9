"""The wallet's tables ⇄ wallets and movements: locked and read before deciding, saved after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, NamedTuple

from consumers.wallet.decide import Movement, Purchase, Side, Wallet, Wallets, effect_of
from schemas.events import WalletBalance
from schemas.money import Money
from schemas.money_back import Execution
from topics import catalog
from topics.runtime.shape.consumer import Connection, Latest, Versions
from topics.runtime.shape.store import text_array
from topics.runtime.shape.table import Column, Table

Change = Wallet | Movement | Purchase

WALLETS = Table(
    "wallets",
    Column("seller_account", "text", key=True),
    Column("currency", "text", key=True),
    Column("available", "int8"),
    Column("pending", "int8"),
    Column("reserved", "int8"),
    Column("version", "int8"),
    Column("opened_at", "timestamptz", by_sql=True),
)
MOVEMENTS = Table(
    "movements",
    Column("movement_id", "uuid", key=True),
    Column("kind", "text"),
    Column("subject_id", "text"),
    Column("part", "text"),
    Column("checkout_id", "text"),
    Column("cause_event_id", "uuid"),
    Column("amount", "int8", "amount.minor"),
    Column("at", "timestamptz"),
    Column("seller_account", "text", "after.seller_account"),
    Column("currency", "text", "after.currency"),
    Column("available_after", "int8", "after.available"),
    Column("pending_after", "int8", "after.pending"),
    Column("reserved_after", "int8", "after.reserved"),
    Column("wallet_version", "int8", "after.version"),
)
BUYERS = Table(
    "buyers",
    Column("buyer_account", "text", key=True),
    Column("currency", "text", key=True),
    Column("gross_total", "int8"),
    Column("orders", "int8"),
    Column("refunded_total", "int8"),
)


_WIDTH = len(fields(Wallet))
_MOVED = (
    f"SELECT amount, {MOVEMENTS.select(Wallet, 'after')}, {MOVEMENTS.select(Movement, without=('amount', 'after'))}"
    " FROM movements WHERE subject_id = ANY(%s::text[])"
)


def load(conn: Connection, events: Sequence[Execution], now: datetime) -> Wallets:
    """Read the movements of the batch's orders, then lock the wallets: last, so that they are locked for the shortest time.

    Both statements are sent before either result is read: one round trip in a batch.
    """
    effects = [(event, effect.amount) for event in events if (effect := effect_of(event)) is not None]
    if not effects:
        return Wallets()
    moved = conn.execute(_MOVED, [text_array(event.payment_order_id for event, _ in effects)])
    wallets = _lock(conn, {(event.seller_account, amount.currency) for event, amount in effects}, now)
    state = Wallets({wallet.side: wallet for wallet in wallets})
    for row in moved:
        state.fold(_as_movement(*row))
    return state


def _as_movement(minor: int, *row: Any) -> Movement:
    after, flat = Wallet(*row[:_WIDTH]), row[_WIDTH:]
    return Movement(*(*flat, Money(minor, after.currency), after))


def _lock(conn: Connection, sides: set[Side], now: datetime) -> list[Wallet]:
    """Lock the wallets in sorted order; open those that do not exist."""
    wanted = sorted(sides)
    locked = _lock_known(conn, wanted)
    if len(locked) < len(wanted):
        known = {wallet.side for wallet in locked}
        _open(conn, [side for side in wanted if side not in known], now)
        locked = _lock_known(conn, wanted)
    return locked


_LOCK = (
    f"SELECT {WALLETS.select(Wallet, alias='w')}"
    " FROM unnest(%s::text[], %s::text[]) AS t (seller_account, currency)"
    " JOIN wallets w ON w.seller_account = t.seller_account AND w.currency = t.currency"
    " ORDER BY w.seller_account, w.currency FOR UPDATE OF w"
)


def _lock_known(conn: Connection, sides: Sequence[Side]) -> list[Wallet]:
    rows = conn.execute(_LOCK, [text_array(seller for seller, _ in sides), text_array(code for _, code in sides)])
    return [Wallet(*row) for row in rows]


def _open(conn: Connection, sides: Sequence[Side], now: datetime) -> None:
    conn.execute(
        "INSERT INTO wallets (seller_account, currency, opened_at)"
        " SELECT seller_account, currency, %s FROM unnest(%s::text[], %s::text[]) AS t (seller_account, currency)"
        " ORDER BY 1, 2 ON CONFLICT DO NOTHING",
        [now, [seller for seller, _ in sides], [currency for _, currency in sides]],
    )


_MOVE, _UPDATE = MOVEMENTS.insert(), WALLETS.update()
_ADD = BUYERS.insert(
    otherwise="ON CONFLICT (buyer_account, currency) DO UPDATE"
    " SET gross_total = buyers.gross_total + excluded.gross_total, orders = buyers.orders + excluded.orders,"
    " refunded_total = buyers.refunded_total + excluded.refunded_total"
)


def save(conn: Connection, changes: Sequence[Change]) -> Versions:
    _MOVE.run(conn, [change for change in changes if type(change) is Movement])
    wallets = _last(changes)
    _UPDATE.run(conn, wallets)
    _ADD.run(conn, _by_buyer([change for change in changes if type(change) is Purchase]))
    return {catalog.WALLET_BALANCES: {wallet.name: wallet.version for wallet in wallets}}


def _last(changes: Iterable[Change]) -> list[Wallet]:
    """Each wallet after its last movement of the batch."""
    return list({wallet.side: wallet for wallet in changes if type(wallet) is Wallet}.values())


class _BuyerTotals(NamedTuple):
    """What one buyer has paid and was refunded in a batch, in minor units."""

    buyer_account: str
    currency: str
    gross_total: int
    orders: int
    refunded_total: int


def _by_buyer(purchases: Sequence[Purchase]) -> list[_BuyerTotals]:
    """The batch's totals by buyer, sorted, so that processes with the same buyers do not deadlock."""
    totals: dict[Side, list[int]] = {}
    for purchase in purchases:
        total = totals.setdefault((purchase.buyer_account, purchase.gross.currency), [0, 0, 0])
        total[0] += purchase.gross.minor
        total[1] += purchase.orders
        total[2] += purchase.refunded
    return [_BuyerTotals(*side, *totals[side]) for side in sorted(totals)]


_READ = (
    f"SELECT {WALLETS.select(Wallet, alias='w')}"
    " FROM unnest(%s::text[], %s::text[]) AS t (seller_account, currency)"
    " JOIN wallets w ON w.seller_account = t.seller_account AND w.currency = t.currency"
)


def latest_balances(conn: Connection, names: Sequence[str]) -> list[Latest]:
    """The wallets with these names as records. A name is <seller>:<currency>."""
    sides = [name.rpartition(":") for name in names]
    rows = conn.execute(
        _READ, [text_array(seller for seller, _, _ in sides), text_array(code for _, _, code in sides)], binary=True
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
