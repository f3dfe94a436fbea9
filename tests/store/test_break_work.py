"""What persons do about breaks: the room on a real database, with wallet and ledger beside it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from consumers.ledger import consumer as ledger
from consumers.wallet import consumer as wallet
from operations.auditor import corrections as auditor
from operations.auditor.engine.stores import Stores
from operations.auditor.settlements import compare, read_all
from operations.cli.recon_answers import answer, walked
from producers.doors.break_work import ask
from producers.doors.commands import claim
from producers.recon_reports import one_break, proof
from producers.recon_suggestions import suggestions
from reconciliation.breaking import break_id
from schemas.break_work import BreakAction, BreakWorked
from schemas.breaks import BreakChanged, BreakOpened, BreakResolved
from schemas.corrections import CorrectionApproved
from schemas.journals import LedgerEntry
from schemas.money import Money
from schemas.settlements import Settled, SettlementFileDiscarded
from tests.captures import capture
from tests.reconciling import ADYEN, BANK, Report, Room, Row, call_id, paid_out
from tests.store.hearing import NOW, Hearing
from topics.runtime.shape.store import Store
from topics.settings import Settings

DAYS = timedelta(days=10)
_numbers = itertools.count(1)


def tally(number: int, psp: str = "northpay", kind: str = "c") -> str:
    return f"{psp}|{kind}|{call_id(number)}"


@pytest.fixture
def books(stored: Settings) -> Iterator[Hearing]:
    hearing = Hearing(stored, ledger.build(stored), "l")
    yield hearing
    hearing.close()
    assert hearing.dead == 0


@pytest.fixture
def wallets(stored: Settings) -> Iterator[Hearing]:
    hearing = Hearing(stored, wallet.build(stored), "w")
    yield hearing
    hearing.close()
    assert hearing.dead == 0


def worked(subject: str, action: BreakAction, actor: str = "operator ann", **more: Any) -> BreakWorked:
    more.setdefault("operation_id", f"op-{next(_numbers)}")
    more.setdefault("reason", "as the PSP says")
    return BreakWorked(subject=subject, action=action, actor=actor, **more)


def case(room: Room, id_: str) -> dict[str, Any]:
    [row] = room.rows("SELECT * FROM break_view WHERE replace(break_id, '-', '') = %s", id_)
    return row


def history(room: Room, id_: str) -> list[dict[str, Any]]:
    """What persons have asked for, oldest first."""
    return room.rows(
        "SELECT action, actor, detail, operation_id FROM break_action_view WHERE replace(break_id, '-', '') = %s"
        " AND operation_id IS NOT NULL ORDER BY revision",
        id_,
    )


def refusal(room: Room, id_: str) -> str | None:
    """Why the last one was not done."""
    told: str | None = history(room, id_)[-1]["detail"].get("refused")
    return told


def at_psp(room: Room) -> set[tuple[str, str]]:
    """Open breaks but that the bank shows no pay-out: it has no statements here."""
    return {(code, item) for code, item in room.breaks() if code != "PAYOUT_MISSING"}


def balance(books: Hearing, account: str) -> int:
    rows = books.rows("SELECT debits - credits AS balance FROM account_view WHERE account = %s", account)
    return int(rows[0]["balance"]) if rows else 0


def missing(room: Room, books: Hearing, number: int = 1, **changes: Any) -> str:
    """A capture of EUR 12.34 of which no line has come in time. → its break"""
    event = capture(f"order-{number}", call_id=call_id(number), **changes)
    room.hear(event)
    books.hears(event)
    room.settles(DAYS)
    assert ("MISSING_AT_PSP", tally(number)) in at_psp(room)
    return break_id("MISSING_AT_PSP", tally(number))


def unexplained(room: Room, books: Hearing, minor: int = 500, key: int = 9) -> str:
    """A line of which we know nothing. → its break"""
    room.reads(paid_out([Row(call_id(key), minor, 0)]))
    room.settles()
    room.after += timedelta(hours=1)
    room.heard_all()
    room.settles(timedelta(minutes=2))
    books.hears(*room.all_said(Settled))
    return break_id("MISSING_INTERNAL", tally(key))


def check_books(settings: Settings) -> None:
    """The auditor finds nothing."""
    with Stores(settings) as stores:
        assert [
            str(each) for each in compare(read_all(stores, settings)) if each.check != "settlement_files_heard"
        ] == []
        assert [str(each) for each in auditor.compare(auditor.read_all(stores))] == []


# ── one person ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_small_amount_one_person_writes_off_and_the_break_closes_with_its_booking(
    room: Room, books: Hearing, wallets: Hearing
) -> None:
    id_ = missing(room, books)
    room.hear(worked(id_, "write_off"))
    assert (refusal(room, id_), case(room, id_)["work"]) == (None, "approved")
    [said] = room.all_said(CorrectionApproved)
    assert (said.maker, said.approver, said.break_id, said.movements) == ("operator ann", "operator ann", id_, ())
    room.settles()
    assert (at_psp(room), case(room, id_)["work"]) == (set(), "resolved")
    books.hears(said)
    wallets.hears(said)
    assert (balance(books, "platform:losses"), balance(books, "psp:northpay:receivable")) == (1234, 0)
    check_books(room.settings)


def test_a_line_after_the_write_off_opens_the_case_as_amount_and_its_undoing_ends_it(
    room: Room, books: Hearing, wallets: Hearing
) -> None:
    id_ = missing(room, books)
    room.hear(worked(id_, "write_off"))
    room.settles()
    room.reads(paid_out([Row(call_id(1), 1234, 0)]))
    room.settles()
    late = break_id("AMOUNT", tally(1))
    assert (at_psp(room), case(room, late)["amount"]) == ({("AMOUNT", tally(1))}, 1234)
    [written_off] = room.all_said(CorrectionApproved)
    room.hear(worked(late, "undo", correction_id=written_off.correction_id))
    room.settles()
    assert (refusal(room, late), at_psp(room)) == (None, set())
    room.hear(worked(late, "undo", correction_id=written_off.correction_id))
    assert refusal(room, late) == "is_undone"
    books.hears(*room.all_said(Settled), *room.all_said(CorrectionApproved))
    assert (balance(books, "platform:losses"), balance(books, "psp:northpay:receivable")) == (0, 0)
    check_books(room.settings)


def test_the_same_operation_again_changes_nothing(room: Room, books: Hearing) -> None:
    id_ = missing(room, books)
    once = worked(id_, "write_off")
    room.hear(once, once)
    room.hear(once)
    assert (len(room.all_said(CorrectionApproved)), len(history(room, id_))) == (1, 1)


def test_a_line_that_nobody_explains_is_mapped_to_an_account(room: Room, books: Hearing) -> None:
    id_ = unexplained(room, books)
    room.hear(worked(id_, "map", account="platform:fees"))
    assert refusal(room, id_) is None
    before = len(room.all_said(Settled))
    room.settles()
    assert at_psp(room) == set()
    books.hears(*room.all_said(Settled)[before:], *room.all_said(CorrectionApproved))
    assert [balance(books, each) for each in ("suspense", "platform:fees", "psp:northpay:receivable")] == [0, -500, 0]
    check_books(room.settings)


def test_a_line_is_matched_with_what_another_reference_expects_and_let_go_again(room: Room, books: Hearing) -> None:
    late = missing(room, books, gross=Money(500, "EUR"), net=Money(466, "EUR"))
    id_ = unexplained(room, books)
    room.hear(worked(id_, "match", expectations=(tally(1),)))
    room.settles()
    assert (refusal(room, id_), at_psp(room), room.all_said(CorrectionApproved)) == (None, set(), [])
    books.hears(*room.all_said(Settled)[1:])
    check_books(room.settings)
    done = history(room, id_)[-1]["detail"]["correction_id"]
    room.hear(worked(id_, "undo", correction_id=done))
    room.settles()
    assert at_psp(room) == {("MISSING_AT_PSP", tally(1)), ("MISSING_INTERNAL", tally(9))}
    assert case(room, late)["work"] == "open"
    books.hears(*room.all_said(Settled)[2:])
    check_books(room.settings)


def test_a_journal_that_a_person_has_drawn_up_moves_seller_and_tally(
    room: Room, books: Hearing, wallets: Hearing
) -> None:
    id_ = missing(room, books)
    entries = (
        LedgerEntry("seller:seller-1:payable", "debit", Money(1234, "EUR")),
        LedgerEntry("psp:northpay:receivable", "credit", Money(1234, "EUR")),
    )
    room.hear(worked(id_, "propose", entries=entries))
    room.settles()
    [said] = room.all_said(CorrectionApproved)
    books.hears(said)
    wallets.hears(capture("order-1", call_id=call_id(1)), said)
    assert at_psp(room) == set()
    assert wallets.rows("SELECT available FROM wallet_view") == [{"available": -34}]
    assert balance(books, "seller:seller-1:payable") == 34
    check_books(room.settings)


def test_a_bank_fee_is_booked_on_the_difference(room: Room, books: Hearing) -> None:
    room.hear(capture("order-1", call_id=call_id(1)))
    room.reads(paid_out([Row(call_id(1), 1234, 34)]))
    room.settles()
    from reconciliation.formats import keys

    entry = Row(keys.paid_out("main", "238", "EUR"), 1190, kind="s", settlement="st-1")
    room.reads(Report((entry,), (("st-1", "EUR", 1290),), source=BANK, opening=100, identity="st-1"))
    room.settles(DAYS)
    item = f"main|s|{keys.paid_out('main', '238', 'EUR')}"
    assert room.breaks() == {("BANK_AMOUNT", item)}
    id_ = break_id("BANK_AMOUNT", item)
    shown = walked(room.settings, suggestions(answer(room.settings, one_break(id_))))
    assert [(each["action"], each["fields"]) for each in shown] == [
        ("write-off", {"items": [item], "account": "bank:fees"})
    ]
    room.hear(worked(id_, "write_off", account="bank:fees"))
    room.settles()
    books.hears(capture("order-1", call_id=call_id(1)), *room.all_said(Settled), *room.all_said(CorrectionApproved))
    assert (room.breaks(), balance(books, "bank:fees"), balance(books, "bank:main:clearing")) == (set(), 10, 0)
    check_books(room.settings)


# ── two persons ──────────────────────────────────────────────────────────────────────────────────────────────────────

LARGE = {"gross": Money(20_000, "EUR"), "net": Money(19_966, "EUR")}


def test_above_the_limit_another_person_approves_what_is_done(room: Room, books: Hearing) -> None:
    id_ = missing(room, books, **LARGE)
    room.hear(worked(id_, "write_off"))
    proposed = case(room, id_)
    assert (proposed["work"], room.all_said(CorrectionApproved)) == ("proposed", [])
    sha = proposed["proposal"]["sha256"]
    for actor, hash_, why in (
        ("operator Ann", sha, "same_person"),
        ("ann (key 1a2b3c4d)", sha, "same_person"),
        ("operator ben", "0" * 64, "approval_stale"),
    ):
        room.hear(worked(id_, "approve", actor, sha256=hash_))
        assert refusal(room, id_) == why
    assert case(room, id_)["work"] == "proposed"
    room.hear(worked(id_, "approve", "operator ben", sha256=sha))
    [said] = room.all_said(CorrectionApproved)
    assert (said.maker, said.approver, said.sha256) == ("operator ann", "operator ben", sha)
    room.settles()
    assert (at_psp(room), case(room, id_)["work"]) == (set(), "resolved")
    assert [row["action"] for row in history(room, id_)] == ["write_off", *["approve"] * 4], "every action leaves a row"


def test_what_has_changed_since_it_was_proposed_is_not_approved(room: Room, books: Hearing) -> None:
    id_ = missing(room, books, **LARGE)
    room.hear(worked(id_, "write_off"))
    sha = case(room, id_)["proposal"]["sha256"]
    room.hear(capture("order-1", call_id=call_id(1), capture_id="second", **LARGE))  # more is expected of it
    room.hear(worked(id_, "approve", "operator ben", sha256=sha))
    assert (refusal(room, id_), room.all_said(CorrectionApproved)) == ("approval_stale", [])
    assert (case(room, id_)["work"], case(room, id_)["proposal"]) == ("open", None)


def test_a_large_break_is_not_hidden_by_one_person(room: Room, books: Hearing) -> None:
    id_ = missing(room, books, **LARGE)
    room.hear(worked(id_, "resolve"))
    sha = case(room, id_)["proposal"]["sha256"]
    room.hear(worked(id_, "approve", "operator ben", sha256=sha))
    assert (case(room, id_)["work"], len(at_psp(room))) == ("resolved", 1)
    room.settles(DAYS)
    assert case(room, id_)["work"] == "resolved", "nothing has changed"
    room.hear(worked(id_, "reopen", "operator cem"))
    assert case(room, id_)["work"] == "open"


def test_who_hears_of_breaks_hears_that_a_person_has_resolved_one_and_opened_it_again(
    room: Room, books: Hearing
) -> None:
    id_ = missing(room, books)
    said = len(room.said)
    room.hear(
        worked(id_, "assign", assignee="ben"), worked(id_, "resolve"), worked(id_, "resolve"), worked(id_, "reopen")
    )
    told = [event for event in room.said[said:] if isinstance(event, BreakResolved | BreakOpened | BreakChanged)]
    assert [type(event) for event in told] == [BreakResolved, BreakOpened]
    assert all(event.break_id == id_ for event in told)
    assert told[0].revision < told[1].revision


def test_a_resolved_break_opens_again_by_another_amount(room: Room, books: Hearing) -> None:
    id_ = missing(room, books)
    room.hear(worked(id_, "assign", assignee="ben"), worked(id_, "resolve"))
    assert case(room, id_)["work"] == "resolved"
    room.hear(capture("order-1", call_id=call_id(1), capture_id="second"))
    room.settles(DAYS)
    assert (case(room, id_)["amount"], case(room, id_)["work"]) == (2468, "assigned")


def test_a_proposal_may_be_rejected_and_lapses_when_its_break_closes(room: Room, books: Hearing) -> None:
    id_ = missing(room, books, **LARGE)
    room.hear(worked(id_, "write_off"), worked(id_, "reject", "operator ben"))
    assert (case(room, id_)["work"], case(room, id_)["proposal"]) == ("open", None)
    room.hear(worked(id_, "write_off"))
    sha = case(room, id_)["proposal"]["sha256"]
    room.reads(paid_out([Row(call_id(1), 20_000, 0)]))
    room.settles()
    assert (case(room, id_)["work"], case(room, id_)["proposal"]) == ("auto_closed", None)
    room.hear(worked(id_, "approve", "operator ben", sha256=sha))
    assert (refusal(room, id_), room.all_said(CorrectionApproved)) == ("break_closed", [])


# ── what cannot be done is answered ──────────────────────────────────────────────────────────────────────────────────

REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "assign to nobody": ("assignee_needed", {"action": "assign"}),
    "approve nothing": ("nothing_proposed", {"action": "approve", "sha256": "0" * 64}),
    "reject nothing": ("nothing_proposed", {"action": "reject"}),
    "reopen an open one": ("not_resolved", {"action": "reopen"}),
    "an unknown account": ("account_not_allowed", {"action": "write_off", "account": "bank:main"}),
    "no account": ("account_not_allowed", {"action": "map"}),
    "its own account": ("same_account", {"action": "write_off", "account": "psp:northpay:receivable"}),
    "an item of another break": ("unknown_item", {"action": "write_off", "items": (tally(2),)}),
    "an expectation as a line": ("no_line", {"action": "match", "expectations": (tally(1),)}),
    "an unknown repair": ("unknown_correction", {"action": "undo", "correction_id": "0" * 32}),
    "another hash than shown": ("changed", {"action": "write_off", "sha256": "0" * 64}),
    "no journal": ("unbalanced", {"action": "propose"}),
    "an unbalanced journal": (
        "unbalanced",
        {
            "action": "propose",
            "entries": (
                LedgerEntry("platform:losses", "debit", Money(2, "EUR")),
                LedgerEntry("psp:northpay:receivable", "credit", Money(1, "EUR")),
            ),
        },
    ),
    "a foreign currency": (
        "item_needed",
        {
            "action": "propose",
            "entries": (
                LedgerEntry("platform:losses", "debit", Money(2, "USD")),
                LedgerEntry("psp:northpay:receivable", "credit", Money(2, "USD")),
            ),
        },
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_done_is_answered_and_changes_nothing(what: str, room: Room, books: Hearing) -> None:
    id_ = missing(room, books)
    code, asked = REFUSED[what]
    room.hear(worked(id_, **asked))
    assert (refusal(room, id_), case(room, id_)["work"], room.all_said(CorrectionApproved)) == (code, "open", [])
    assert history(room, id_)[-1]["detail"]["why"]


def test_a_closed_break_takes_notes_alone(room: Room, books: Hearing) -> None:
    id_ = missing(room, books)
    room.reads(paid_out([Row(call_id(1), 1234, 0)]))
    room.settles()
    for action in ("write_off", "resolve", "assign", "reopen", "match"):
        room.hear(worked(id_, action, assignee="ben"))
        assert refusal(room, id_) == "break_closed"
    room.hear(worked(id_, "note"))
    assert refusal(room, id_) is None


def test_the_history_cannot_be_changed(room: Room, books: Hearing) -> None:
    id_ = missing(room, books)
    room.hear(worked(id_, "note"))
    for table, column in (("break_actions", "action"), ("corrections", "kind"), ("correction_facts", "kind")):
        for statement in (f"UPDATE {table} SET {column} = 'x'", f"DELETE FROM {table}"):
            with room.store.transaction() as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement)  # type: ignore[call-overload]


# ── the auditor ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_correction_that_one_room_lacks_is_named(room: Room, books: Hearing, wallets: Hearing) -> None:
    id_ = missing(room, books)
    entries = (
        LedgerEntry("seller:seller-1:payable", "debit", Money(1234, "EUR")),
        LedgerEntry("psp:northpay:receivable", "credit", Money(1234, "EUR")),
    )
    room.hear(worked(id_, "propose", entries=entries))
    [said] = room.all_said(CorrectionApproved)

    def found() -> set[str]:
        with Stores(room.settings) as stores:
            return {each.check for each in auditor.compare(auditor.read_all(stores))}

    assert found() == {"corrections_in_ledger", "corrections_in_wallet"}
    books.hears(said)
    assert found() == {"corrections_in_wallet", "corrections_agree"}
    wallets.hears(said)
    assert found() == set()
    books.hears(said.model_copy(update={"correction_id": "7" * 32}))  # which nobody has agreed on
    assert found() == {"corrections_in_ledger", "corrections_agree"}


def test_what_reconciliation_has_not_answered_is_named(room: Room, books: Hearing) -> None:
    id_ = missing(room, books)
    asked = worked(id_, "write_off", operation_id="asked")
    doors = Store(room.settings, "doors")
    with doors.transaction() as conn:
        claim(conn, [ask(asked)], NOW)
    doors.close()

    def found() -> list[tuple[str, str]]:
        with Stores(room.settings) as stores:
            return [(each.check, each.key) for each in auditor.compare(auditor.read_all(stores))]

    assert found() == [("break_work_answered", id_)]
    room.hear(asked)
    assert ("break_work_answered", id_) not in found()


assert ADYEN.psp == "northpay"


def test_an_adjustment_is_mapped_and_the_proof_holds(room: Room, books: Hearing) -> None:
    room.reads(paid_out([Row(call_id(9), 500, 0, kind="j")]))
    room.settles()
    item = f"northpay|j|{call_id(9)}"
    id_ = break_id("UNEXPLAINED", item)
    room.hear(worked(id_, "map", account="platform:fees"))
    room.settles()
    assert (refusal(room, id_), at_psp(room)) == (None, set())
    books.hears(*room.all_said(Settled), *room.all_said(CorrectionApproved))
    assert (balance(books, "suspense"), balance(books, "platform:fees")) == (0, -500)
    check_books(room.settings)
    told = answer(room.settings, proof(room.settings.settlement_sources))
    assert told["holds"], told["proof"]


def test_what_a_withdrawn_line_was_mapped_to_is_missing_then(room: Room, books: Hearing) -> None:
    report = paid_out([Row(call_id(9), 500, 0)])
    id_ = unexplained(room, books)
    room.hear(worked(id_, "map", account="platform:fees"))
    room.settles()
    room.hear(SettlementFileDiscarded(source="adyen-eu", file_id=report.file_id, discarded_by="ann", reason="not ours"))
    room.settles(DAYS)
    assert at_psp(room) == {("MISSING_AT_PSP", tally(9))}
    [said] = room.all_said(CorrectionApproved)
    room.hear(worked(break_id("MISSING_AT_PSP", tally(9)), "undo", correction_id=said.correction_id))
    room.settles()
    assert at_psp(room) == set()
    books.hears(*room.all_said(Settled)[1:], *room.all_said(CorrectionApproved))
    assert [balance(books, each) for each in ("suspense", "platform:fees", "psp:northpay:receivable")] == [0, 0, 0]
    check_books(room.settings)


def test_the_proof_holds_after_each_repair(room: Room, books: Hearing) -> None:
    id_, other = missing(room, books), unexplained(room, books, 700)
    for event in (worked(id_, "write_off"), worked(other, "map", account="seller:seller-1:payable")):
        room.hear(event)
        room.settles()
    books.hears(*room.all_said(Settled)[1:], *room.all_said(CorrectionApproved))
    told = answer(room.settings, proof(room.settings.settlement_sources))
    assert told["holds"], told["proof"]
