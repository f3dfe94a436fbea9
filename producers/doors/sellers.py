"""An owner's or an operator's command about a seller → its row, its history, and an event that says the terms, once each.

Name and country are kept here alone: nobody who books or pays needs them, and they do not travel. A destination is sealed
before it is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import orjson
from psycopg.rows import dict_row

from producers.doors.commands import Command, CommandEvents, id_of_revision
from producers.doors.destinations import Sealing, masked
from producers.problems import Problem
from producers.reading import Row
from schemas.destinations import Destination
from schemas.persons import BY_OPERATOR, person_of
from schemas.requests import FieldError
from schemas.sellers import DestinationChange, SellerRequest, SellerSet
from topics.runtime.shape.consumer import Connection

TAKEN = [FieldError("seller_account", "id_taken", "this seller_account is taken")]
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
        settings = {name: shown_value(name, self.settings.get(name)) for name in _SETTINGS}
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


@dataclass(frozen=True, slots=True)
class SellerEdit:
    """Who changes a seller, and how. An operator, the `owner` of None, may change everybody's, and register nobody.

    `change` is given what stands without its destination, which cannot be read; with `keeps_destination` that stays.
    """

    owner: str | None
    seller_account: str
    change: Edit
    by: str
    sealing: Sealing
    reason: str | None = None
    keeps_destination: bool = False

    def command(self) -> Command[Changed]:
        """Errors, when it is done: Problem `not_found`, `id_taken`, those of `Sealing.sealed` and of `change`."""
        return Command(("seller", self.seller_account), lambda conn, now: _edit(conn, now, self))

    def settings(self, standing: Mapping[str, Any], now: datetime) -> dict[str, Any]:
        """As they are stored: what is as it is for everybody is left out, but for the state."""
        wanted = self.change(request_of(standing))
        settings = wanted.model_dump(mode="json", exclude_none=True, exclude={"destination"})
        settings = {name: value for name, value in settings.items() if value or name not in ("hold_days", "schedules")}
        destination = self._destination(standing.get("destination"), wanted.destination, now)
        return settings | ({"destination": destination} if destination else {})

    def _destination(
        self, before: dict[str, str] | None, wanted: Destination | None, now: datetime
    ) -> dict[str, str] | None:
        if wanted is None:
            return before if self.keeps_destination else None
        if before is not None and self.sealing.is_same(self.seller_account, wanted, before):
            return before
        return self.sealing.sealed(self.seller_account, wanted) | {"changed_by": self.by, "changed_at": now.isoformat()}


def put(owner: str, seller_account: str, wanted: SellerRequest, by: str, sealing: Sealing) -> Command[Changed]:
    """Registered, or set to this. The same again changes nothing. Errors: as of SellerEdit."""
    return SellerEdit(owner, seller_account, lambda _: wanted, by, sealing).command()


def _edit(conn: Connection, now: datetime, edit: SellerEdit) -> tuple[Changed, CommandEvents]:
    before = _locked(conn, edit.seller_account)
    if before is None:
        return _register(conn, now, edit) or _edit(conn, now, edit)  # another process has made it at this moment
    if edit.owner is not None and before.owner != edit.owner:
        raise Problem("id_taken", "seller_account: this seller_account is taken", TAKEN)
    settings = edit.settings(before.settings, now)
    if settings == before.settings:
        return Changed(before, before), CommandEvents()
    if not edit.by.startswith(BY_OPERATOR) and settings["state"] != before.settings["state"]:
        _check_state(conn, before)
    after = Seller(before.seller_account, before.owner, before.revision + 1, settings, before.created_at, now)
    conn.execute(
        "UPDATE sellers SET revision = %s, settings = %s, changed_at = %s WHERE seller_account = %s",
        [after.revision, _json(settings), now, after.seller_account],
    )
    return _noted(conn, Changed(after, before), edit)


_WHO: LiteralString = (
    "SELECT changed_by FROM seller_history WHERE seller_account = %s"
    " AND after ->> 'state' IS DISTINCT FROM before ->> 'state' ORDER BY revision DESC LIMIT 1"
)


def _check_state(conn: Connection, before: Seller) -> None:
    """An owner does not lift what an operator has ordered. Errors: Problem `held_by_operator`."""
    set_by = conn.execute(_WHO, [before.seller_account]).fetchone()
    if before.settings["state"] != "active" and set_by is not None and set_by[0].startswith(BY_OPERATOR):
        raise Problem("held_by_operator")


def _register(conn: Connection, now: datetime, edit: SellerEdit) -> tuple[Changed, CommandEvents] | None:
    """Errors: Problem `not_found`, where no owner is named."""
    if edit.owner is None:
        raise Problem("not_found")
    seller = Seller(edit.seller_account, edit.owner, 1, edit.settings({}, now), now, now)
    made = conn.execute(
        "INSERT INTO sellers (seller_account, owner, revision, settings, created_at, changed_at)"
        " VALUES (%s, %s, 1, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING 1",
        [seller.seller_account, seller.owner, _json(seller.settings), now, now],
    ).fetchone()
    return _noted(conn, Changed(seller, None), edit) if made else None


def _locked(conn: Connection, seller_account: str) -> Seller | None:
    """Its events get their outbox ids in the order of its changes."""
    cursor = conn.cursor(row_factory=dict_row)
    row = cursor.execute(SELECT + " WHERE seller_account = %s FOR UPDATE", [seller_account]).fetchone()
    return seller_of(row) if row else None


def _noted(conn: Connection, changed: Changed, edit: SellerEdit) -> tuple[Changed, CommandEvents]:
    """In the history, and said."""
    seller, before = changed.seller, changed.before
    conn.execute(
        "INSERT INTO seller_history (seller_account, revision, changed_by, reason, at, before, after)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        [
            seller.seller_account,
            seller.revision,
            edit.by,
            edit.reason,
            seller.changed_at,
            _json(before.settings) if before else None,
            _json(seller.settings),
        ],
    )
    now = seller.changed_at
    event_id = id_of_revision("seller", seller.seller_account, seller.revision, now)
    said = said_of(seller, _destination_changes(conn, seller.seller_account))
    return changed, CommandEvents([(event_id, said, seller.revision)])


_CHANGES: LiteralString = (
    "SELECT changed_by, at FROM seller_history WHERE seller_account = %s AND after ? 'destination'"
    " AND after -> 'destination' IS DISTINCT FROM before -> 'destination' ORDER BY revision"
)


def _destination_changes(conn: Connection, seller_account: str) -> list[DestinationChange]:
    """Each person's last one, the oldest first."""
    rows = conn.execute(_CHANGES, [seller_account]).fetchall()
    last = {person_of(by): DestinationChange(by, at) for by, at in rows}
    return sorted(last.values(), key=lambda change: change.at)


def said_of(seller: Seller, destination_changes: Sequence[DestinationChange] = ()) -> SellerSet:
    terms = {name: value for name, value in seller.settings.items() if name not in _KEPT}
    ids = {"seller_account": seller.seller_account, "owner": seller.owner, "seller_revision": seller.revision}
    if destination := dict(terms.get("destination", {})):
        changed = {f"destination_{name}": destination.pop(name) for name in ("changed_by", "changed_at")}
        terms |= changed | {"destination": destination}
    if schedules := terms.get("schedules"):
        terms["schedules"] = [_with_money(schedule) for schedule in schedules]
    if destination and destination_changes:
        terms["destination_changes"] = [{"by": each.by, "at": each.at.isoformat()} for each in destination_changes]
    return SellerSet.model_validate_json(orjson.dumps(ids | terms))


def _with_money(schedule: Mapping[str, Any]) -> dict[str, Any]:
    amounts = {name: schedule[name] for name in ("minimum", "keep") if name in schedule}
    wire = {name: {"amount": amount, "currency": schedule["currency"]} for name, amount in amounts.items()}
    return {**schedule, **wire}


def request_of(settings: Mapping[str, Any]) -> SellerRequest:
    """The request that would set all of this but the destination."""
    told = {name: value for name, value in settings.items() if name != "destination"}
    return SellerRequest.model_validate_json(orjson.dumps(told))


def changes(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Field by field, what stood before and what has come in its place."""
    old = before or {}
    names = [name for name in _SETTINGS if old.get(name) != after.get(name)]
    return [
        {"field": name, "before": shown_value(name, old.get(name)), "after": shown_value(name, after.get(name))}
        for name in names
    ]


def shown_value(name: str, value: Any) -> Any:
    """A setting as callers and operators see it."""
    return masked(value) if name == "destination" and value is not None else value


def _json(settings: Mapping[str, Any]) -> str:
    return orjson.dumps(settings).decode()
