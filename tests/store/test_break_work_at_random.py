"""Persons who ask for anything at any time, two at once among them: all is answered, nothing is done twice, the proof holds."""

from __future__ import annotations

import random
import threading
from collections import Counter
from datetime import timedelta
from typing import Any, get_args

import pytest

from consumers.ledger import consumer as ledger
from consumers.wallet import consumer as wallet
from operations.cli.recon_answers import answer
from producers.recon_reports import proof
from reconciliation.breaking import break_id
from schemas.break_work import BreakAction, BreakWorked
from schemas.corrections import CorrectionApproved
from schemas.journals import LedgerEntry
from schemas.money import Money
from schemas.persons import person_of
from schemas.settlements import Settled
from tests.captures import capture
from tests.reconciling import Room, Row, call_id, paid_out
from tests.store.hearing import Hearing
from tests.store.test_break_work import LARGE, case, check_books, history, missing, refusal, worked
from topics.break_rules import BreakRules
from topics.settings import Settings

PERSONS = ("operator ann", "operator ben", "Ann (key 1)", "cem (key 2)")
AMOUNTS = (500, 700, 20_000, 30_000)  # the last two need two persons
ACTIONS = 60


@pytest.mark.parametrize("seed", range(4))
def test_whatever_persons_ask_for_is_answered_and_the_proof_holds(seed: int, room: Room, stored: Settings) -> None:
    dice = random.Random(seed)
    books, wallets = Hearing(stored, ledger.build(stored), "l"), Hearing(stored, wallet.build(stored), "w")
    facts = [
        capture(f"order-{n}", call_id=call_id(n), gross=Money(minor, "EUR"), net=Money(minor - 34, "EUR"))
        for n, minor in enumerate(AMOUNTS, 1)
    ]
    room.hear(*facts)
    room.reads(paid_out([Row(call_id(10 + n), minor, 0) for n, minor in enumerate(AMOUNTS)]))
    room.settles(timedelta(days=10))
    room.heard_all()
    room.settles(timedelta(minutes=2))
    opened = [row["id"] for row in room.rows("SELECT replace(break_id, '-', '') AS id FROM break_view ORDER BY 1")]
    assert len(opened) > 2 * len(AMOUNTS), "the late ones, the unknown ones, and the pay-out"
    for number in range(ACTIONS):
        event = _anything(dice, room, dice.choice(opened), number)
        room.hear(event, *([event] if dice.random() < 0.2 else []))
        if dice.random() < 0.5:
            room.settles()
    room.settles()
    asked = room.rows(
        "SELECT operation_id, actor, action, detail FROM break_action_view WHERE operation_id IS NOT NULL"
    )
    assert Counter(row["operation_id"] for row in asked) == Counter({f"op-{n}": 1 for n in range(ACTIONS)})
    _check_persons(room)
    said = room.all_said(CorrectionApproved)
    for each in (books, wallets):
        each.hears(*facts)
    books.hears(*room.all_said(Settled))
    for rooms in (books, wallets):
        order = [*said, *said]
        dice.shuffle(order)
        for event in order:
            rooms.hears(event)
        assert rooms.dead == 0
    check_books(room.settings)
    told = answer(room.settings, proof(room.settings.settlement_sources))
    assert told["holds"], told["proof"]
    held = {row["seller_account"]: row["available"] for row in wallets.rows("SELECT * FROM wallet_view")}
    owed = books.rows("SELECT account, credits - debits AS owed FROM account_view WHERE account LIKE 'seller:%%'")
    assert {row["account"].split(":")[1]: row["owed"] for row in owed} == held
    for each in (books, wallets):
        each.close()


def _anything(dice: random.Random, room: Room, id_: str, number: int) -> BreakWorked:
    """An action of which some can be done. Whoever approves has looked at what is proposed, most of the time."""
    proposal = case(room, id_)["proposal"]
    action: BreakAction = dice.choice(
        ("approve", "approve", "reject") if proposal and dice.random() < 0.7 else get_args(BreakAction)
    )
    more: dict[str, Any] = {}
    if action == "approve":
        more["sha256"] = proposal["sha256"] if proposal and dice.random() < 0.9 else "0" * 64
    if action in ("write_off", "map"):
        more["account"] = dice.choice(("platform:losses", "seller:seller-1:payable", "bank:fees", "bank:main"))
    if action == "match":
        more["expectations"] = tuple(f"northpay|c|{call_id(dice.randint(1, 4))}" for _ in range(dice.choice((1, 1, 2))))
    if action == "undo":
        made = room.rows("SELECT replace(correction_id::text, '-', '') AS id FROM correction_view ORDER BY 1")
        more["correction_id"] = dice.choice(made)["id"] if made else "0" * 32
    if action == "propose":
        minor = Money(dice.choice(AMOUNTS), "EUR")
        of = dice.choice(("psp:northpay:receivable", "platform:fees"))
        more["entries"] = (LedgerEntry("seller:seller-1:payable", "debit", minor), LedgerEntry(of, "credit", minor))
    if action == "assign":
        more["assignee"] = dice.choice(("ann", "ben"))
    return worked(id_, action, dice.choice(PERSONS), operation_id=f"op-{number}", **more)


def _check_persons(room: Room) -> None:
    rules = BreakRules()
    made = room.rows("SELECT * FROM correction_view")
    assert made, "some of it could be done"
    for row in made:
        amounts = [Money(minor, currency) for _, side, minor, currency in row["entries"] if side == "debit"]
        if amounts and rules.needs_two([Money(sum(a.minor for a in amounts), "EUR")]):
            assert person_of(row["maker"]) != person_of(row["approver"])
    undone = Counter(str(row["undoes"]) for row in made if row["undoes"])
    assert set(undone.values()) <= {1}


def test_of_two_who_approve_at_once_one_does_it(room: Room, stored: Settings) -> None:
    books = Hearing(stored, ledger.build(stored), "l")
    id_ = missing(room, books, **LARGE)
    room.hear(worked(id_, "write_off"))
    sha = case(room, id_)["proposal"]["sha256"]
    others = [Room(stored, name=name) for name in ("b", "c")]
    for each in others:
        each.after = room.after
    start = threading.Barrier(len(others))

    def approve(each: Room, actor: str) -> None:
        start.wait()
        each.hear(worked(id_, "approve", actor, sha256=sha))

    threads = [
        threading.Thread(target=approve, args=pair)
        for pair in zip(others, ("operator ben", "operator cem"), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(each.all_said(CorrectionApproved)) for each in others) == 1
    outcomes = [row["detail"].get("refused") for row in history(room, id_)]
    assert outcomes == [None, None, "nothing_proposed"], outcomes
    assert refusal(room, id_) == "nothing_proposed"
    for hearing in (books, *others):
        assert hearing.dead == 0
        hearing.close()
    assert break_id("MISSING_AT_PSP", f"northpay|c|{call_id(1)}") == id_
