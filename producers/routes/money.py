"""wallet's and ledger's views → balances, entries, what a buyer paid, the trial balance"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from producers import paging, replies
from producers.house import House, house_of, needs
from producers.key_ring import Caller
from producers.problems import Problem
from producers.reading import Row
from producers.selling import registered
from schemas.envelope import is_event_id

router = APIRouter(tags=["money"])

_LAST_JOURNAL = "ffffffff-ffff-ffff-ffff-ffffffffffff"


_OF_THE_HOUSE = frozenset({"ledger:read", "ops:read"})
_LISTED = 31  # of each currency

_BECOMES_AVAILABLE = (
    "SELECT currency, available_from, sum(remaining)::bigint AS amount FROM holding_view"
    " WHERE seller_account = %s AND released_by IS NULL AND remaining > 0 GROUP BY 1, 2 ORDER BY 1, 2"
)

_RESERVED_FOR = (
    "SELECT currency, payout_id, amount, placed_at AS since FROM reservation_view"
    " WHERE seller_account = %(seller)s AND (%(owner)s::text IS NULL OR owner = %(owner)s) AND state = 'reserved'"
    " ORDER BY currency, placed_at, payout_id"
)


@router.get("/v1/wallets/{seller_account}", response_model=replies.Wallet)
async def wallet(request: Request, seller_account: str, caller: Caller = needs("wallets:read")) -> Response:
    """A seller's balances, one for each currency, when pending money becomes available, and what is reserved for pay-outs.
    Another owner's seller and its pay-outs are shown only to keys that see the whole house: with `ledger:read` or `ops:read`.
    """
    house, seller = house_of(request), paging.storable(seller_account)
    reader = house.wallet
    owner = caller.owner if _OF_THE_HOUSE.isdisjoint(caller.scopes) else None
    if owner is not None:
        await _refuse_others(house, seller, owner)
    rows = _found(
        await reader.rows(
            "SELECT currency, available, pending, reserved, version FROM wallet_view"
            " WHERE seller_account = %s ORDER BY currency",
            [seller],
        )
    )
    held = await reader.rows(_BECOMES_AVAILABLE, [seller]) if any(row["pending"] for row in rows) else []
    reserved_for = {"seller": seller, "owner": owner}
    kept = await reader.rows(_RESERVED_FOR, reserved_for) if any(row["reserved"] for row in rows) else []
    balances = [
        {
            **replies.in_decimals(row, ("available", "pending", "reserved")),
            "becomes_available": _dates(held, row["currency"]),
            "reserved_for": _reservations(kept, row["currency"]),
        }
        for row in rows
    ]
    return replies.json({"seller_account": seller_account, "balances": balances})


async def _refuse_others(house: House, seller_account: str, owner: str) -> None:
    """Errors: Problem `not_found`, if another owner has registered the seller."""
    seller = await registered(house, seller_account)
    if seller is not None and seller.owner != owner:
        raise Problem("not_found")


def _dates(held: list[Row], currency: str) -> list[dict[str, Any]]:
    own = [row for row in held if row["currency"] == currency][:_LISTED]
    return [{"at": row["available_from"], "amount": replies.decimal(row["amount"], currency)} for row in own]


def _reservations(kept: list[Row], currency: str) -> list[dict[str, Any]]:
    own = [row for row in kept if row["currency"] == currency][:_LISTED]
    return [
        {"payout_id": row["payout_id"], "amount": replies.decimal(row["amount"], currency), "since": row["since"]}
        for row in own
    ]


@router.get("/v1/buyers/{buyer_account}", response_model=replies.Buyer)
async def buyer(request: Request, buyer_account: str, caller: Caller = needs("wallets:read")) -> Response:
    """What a buyer paid and got back in all."""
    rows = _found(
        await house_of(request).wallet.rows(
            "SELECT currency, gross_total AS paid, refunded_total AS refunded, orders FROM buyer_view"
            " WHERE buyer_account = %s ORDER BY currency",
            [paging.storable(buyer_account)],
        )
    )
    totals = [replies.in_decimals(row, ("paid", "refunded")) for row in rows]
    return replies.json({"buyer_account": buyer_account, "totals": totals})


@router.get("/v1/ledger/trial-balance", response_model=replies.TrialBalance)
async def trial_balance(request: Request, caller: Caller = needs("ledger:read")) -> Response:
    """Debits and credits of all accounts; they are equal in each currency, or something is very wrong."""
    rows = await house_of(request).ledger.rows(
        "SELECT currency, accounts, debits, credits, debits = credits AS balanced FROM trial_balance_view ORDER BY currency"
    )
    lines = [replies.in_decimals(row, ("debits", "credits")) for row in rows]
    return replies.json({"balanced": all(row["balanced"] for row in rows), "currencies": lines})


@router.get("/v1/ledger/accounts/{account}", response_model=replies.Account)
async def account(request: Request, account: str, caller: Caller = needs("ledger:read")) -> Response:
    """An account's balances, one for each currency."""
    rows = _found(
        await house_of(request).ledger.rows(
            "SELECT currency, debits, credits, debits - credits AS balance, version FROM account_view"
            " WHERE account = %s ORDER BY currency",
            [paging.storable(account)],
        )
    )
    balances = [replies.in_decimals(row, ("debits", "credits", "balance")) for row in rows]
    return replies.json({"account": account, "balances": balances})


class Page(BaseModel):
    """How much of a list, from where on."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=100, ge=1, le=1000)
    cursor: str | None = None


@router.get("/v1/ledger/accounts/{account}/entries", response_model=replies.EntryPage)
async def entries(
    request: Request, account: str, page: Annotated[Page, Query()], caller: Caller = needs("ledger:read")
) -> Response:
    """An account's entries, newest first."""
    ledger = house_of(request).ledger
    journal_id, line = paging.decode(page.cursor, str, int) if page.cursor else (_LAST_JOURNAL, 0)
    rows = await ledger.rows(
        "SELECT journal_id::text, line, direction, amount, currency, template, payment_order_id, checkout_id, posted_at"
        " FROM entry_view WHERE account = %s AND (journal_id, line) < (%s::uuid, %s)"
        " ORDER BY journal_id DESC, line DESC LIMIT %s",
        [paging.storable(account), _journal(str(journal_id)), line, page.limit + 1],
    )
    if not rows and page.cursor is None:
        _found(await ledger.rows("SELECT 1 AS found FROM account_view WHERE account = %s LIMIT 1", [account]))
    page_rows = rows[: page.limit]
    last = paging.encode(page_rows[-1]["journal_id"], page_rows[-1]["line"]) if len(rows) > page.limit else None
    shown = [replies.in_decimals(row, ("amount",)) for row in page_rows]
    return replies.json({"account": account, "entries": shown, "next_cursor": last})


def _journal(text: str) -> str:
    if not is_event_id(text):
        raise Problem("invalid_cursor")
    return text


def _found(rows: list[Row]) -> list[Row]:
    if not rows:
        raise Problem("not_found")
    return rows
