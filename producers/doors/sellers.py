"""An owner's or an operator's command about a seller → its row, its history, and an event that says the terms, once each.

Name and country are kept here alone: nobody who books or pays needs them, and they do not travel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import orjson
from psycopg.rows import dict_row

from producers.doors.commands import Command, CommandEvents, id_of_revision
from producers.problems import Problem
from producers.reading import Row
from schemas.requests import FieldError
from schemas.sellers import SellerRequest, SellerSet
from topics.runtime.shape.consumer import Connection

_TAKEN = [FieldError("seller_account", "id_taken", "this seller_account is taken")]
_KEPT = ("name", "country")  # at the doors
_SETTINGS = tuple(SellerRequest.model_fields)


@dataclass(frozen=True, slots=True)
class Seller:
    """A seller as doors have it. `settings` is the request that stands, without what it left out."""

    seller_account: str
    owner: str
    revision: int
    settings: Mapping[str, Any]
    created_at: datetime
    changed_at: datetime

    def shown(self, in_force: int | None) -> dict[str, object]:
        """As its owner sees it. `in_force`: the revision by which new orders are taken; None while none is."""
        settings = {name: self.settings.get(name) for name in _SETTINGS}
        times = {"created_at": self.created_at, "changed_at": self.changed_at}
        return {
            "seller_account": self.seller_account,
            **settings,
            "revision": self.revision,
            "in_force": in_force,
            **times,
        }


@dataclass(frozen=True, slots=True)
class Changed:
    """What a command came to: the seller, and what stood before; None where the command made it."""

    seller: Seller
    before: Seller | None

    @property
    def nothing(self) -> bool:
        return self.before is not None and self.before.revision == self.seller.revision


SELECT: LiteralString = "SELECT seller_account, owner, revision, settings, created_at, changed_at FROM sellers"
Edit = Callable[[SellerRequest], SellerRequest]


def seller_of(row: Row) -> Seller:
    return Seller(**row)


def put(owner: str, seller_account: str, wanted: SellerRequest, by: str) -> Command[Changed]:
    """Registered, or set to this. The same again changes nothing. Errors: Problem `id_taken`."""
    return edit(owner, seller_account, lambda _: wanted, by)


def edit(owner: str | None, seller_account: str, change: Edit, by: str, reason: str | None = None) -> Command[Changed]:
    """Changed from what stands. An operator, the `owner` of None, may change everybody's, and register nobody.

    Errors: Problem `not_found`, `id_taken`.
    """

    def work(conn: Connection, now: datetime) -> tuple[Changed, CommandEvents]:
        return _edit(conn, now, owner, seller_account, change, by, reason)

    return Command(("seller", seller_account), work)


def _edit(
    conn: Connection, now: datetime, owner: str | None, id_: str, change: Edit, by: str, reason: str | None = None
) -> tuple[Changed, CommandEvents]:
    before = _locked(conn, id_)
    if before is None:
        made = _register(conn, now, owner, id_, change, by, reason)
        return made or _edit(conn, now, owner, id_, change, by, reason)  # another process has made it at this moment
    if owner is not None and before.owner != owner:
        raise Problem("id_taken", "seller_account: this seller_account is taken", _TAKEN)
    settings = settings_of(change(SellerRequest.model_validate_json(orjson.dumps(before.settings))))
    if settings == before.settings:
        return Changed(before, before), CommandEvents()
    after = Seller(id_, before.owner, before.revision + 1, settings, before.created_at, now)
    conn.execute(
        "UPDATE sellers SET revision = %s, settings = %s, changed_at = %s WHERE seller_account = %s",
        [after.revision, _json(settings), now, id_],
    )
    return _noted(conn, Changed(after, before), by, reason)


def _register(
    conn: Connection, now: datetime, owner: str | None, id_: str, change: Edit, by: str, reason: str | None
) -> tuple[Changed, CommandEvents] | None:
    """Errors: Problem `not_found`, where no owner is named."""
    if owner is None:
        raise Problem("not_found")
    seller = Seller(id_, owner, 1, settings_of(change(SellerRequest())), now, now)
    made = conn.execute(
        "INSERT INTO sellers (seller_account, owner, revision, settings, created_at, changed_at)"
        " VALUES (%s, %s, 1, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING 1",
        [id_, owner, _json(seller.settings), now, now],
    ).fetchone()
    return _noted(conn, Changed(seller, None), by, reason) if made else None


def _locked(conn: Connection, seller_account: str) -> Seller | None:
    """Its events get their outbox ids in the order of its changes."""
    cursor = conn.cursor(row_factory=dict_row)
    row = cursor.execute(SELECT + " WHERE seller_account = %s FOR UPDATE", [seller_account]).fetchone()
    return seller_of(row) if row else None


def _noted(conn: Connection, changed: Changed, by: str, reason: str | None) -> tuple[Changed, CommandEvents]:
    """In the history, and said."""
    seller, before = changed.seller, changed.before
    conn.execute(
        "INSERT INTO seller_history (seller_account, revision, changed_by, reason, at, before, after)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        [
            seller.seller_account,
            seller.revision,
            by,
            reason,
            seller.changed_at,
            _json(before.settings) if before else None,
            _json(seller.settings),
        ],
    )
    now = seller.changed_at
    event_id = id_of_revision("seller", seller.seller_account, seller.revision, now)
    return changed, CommandEvents([(event_id, said_of(seller), seller.revision)])


def said_of(seller: Seller) -> SellerSet:
    terms = {name: value for name, value in seller.settings.items() if name not in _KEPT}
    ids = {"seller_account": seller.seller_account, "owner": seller.owner, "seller_revision": seller.revision}
    return SellerSet.model_validate_json(orjson.dumps(ids | terms))


def settings_of(wanted: SellerRequest) -> dict[str, Any]:
    """As they are stored: what is as it is for everybody is left out, but for the state."""
    settings = wanted.model_dump(mode="json", exclude_none=True)
    return {name: value for name, value in settings.items() if not (name == "hold_days" and not value)}


def changes(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Field by field, what stood before and what has come in its place."""
    old = before or {}
    names = [name for name in _SETTINGS if old.get(name) != after.get(name)]
    return [{"field": name, "before": old.get(name), "after": after.get(name)} for name in names]


def _json(settings: Mapping[str, Any]) -> str:
    return orjson.dumps(settings).decode()
