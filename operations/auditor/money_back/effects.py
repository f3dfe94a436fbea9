"""Books → facts about operations and disputes that are missing or different in wallet, ledger or payments. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import NamedTuple, TypeVar

from operations.auditor.engine.findings import Finding, heard
from operations.auditor.money_back.books import TAKEN_BACK, Books, Operation, Stage
from operations.auditor.rows import CAPTURED, Journal, Movement, event_id_of
from schemas import money_back
from schemas.journals import JournalPosted

TO_WALLET = heard(money_back.PaymentRefunded, "wallet")
TO_LEDGER = heard(money_back.PaymentRefunded, "ledger")
TO_PAYMENTS = heard(money_back.PaymentRefunded, "payments")
MOVED = heard(money_back.WalletDebited, "payments")
POSTED = heard(JournalPosted, "payments")
HOPS = (TO_WALLET, TO_LEDGER, TO_PAYMENTS, MOVED, POSTED)

IN_WALLET = {CAPTURED: "later_captures_in_wallet", "refunded": "refunds_in_wallet"}
IN_LEDGER = {CAPTURED: "later_captures_in_ledger", "refunded": "refunds_in_ledger"}
IN_WALLET |= dict.fromkeys(("chargeback_opened", "chargeback_won"), "disputes_in_wallet")
IN_LEDGER |= dict.fromkeys(("chargeback_opened", "chargeback_won"), "disputes_in_ledger")
REVERSALS = "reversals_booked"
IN_WALLET |= dict.fromkeys(TAKEN_BACK.values(), REVERSALS)
IN_LEDGER |= dict.fromkeys(TAKEN_BACK.values(), REVERSALS)
KINDS = tuple(IN_WALLET)
_TAKES_BACK = {back: kind for kind, back in TAKEN_BACK.items()} | {"chargeback_won": "chargeback_opened"}
INTO_WALLET = (CAPTURED, "refund_reversed", "chargeback_won")

EFFECT_CHECKS = (*dict.fromkeys((*IN_WALLET.values(), *IN_LEDGER.values())), "money_back_caused", "operations_flagged")


E = TypeVar("E")
Key = tuple[str, str, str]  # order, kind, part


class Fact(NamedTuple):
    """A fact that moved money. Amounts and cause are None unless it is the last one about its operation or stage."""

    order_id: str
    kind: str
    part: str
    net: int | None = None
    fee: int = 0
    currency: str = ""
    cause: str | None = None
    dispute_fee: int = 0  # in the order's currency: the seller bears it, or the platform
    kept_fee: int = 0  # how much of the dispute fee a PSP may keep though the dispute is won

    def signed(self, amount: int) -> int:
        return amount if self.kind in INTO_WALLET else -amount


def facts(books: Books) -> Iterator[Fact]:
    for operation in books.operations.values():
        if operation.kind in ("capture", "refund"):
            yield from _facts_of(operation, 0, 0)
    for stage in books.stages.values():
        fee = stage.dispute_fee or 0
        yield from _facts_of(stage, fee if stage.fee_currency == stage.currency else 0, fee)


def _facts_of(about: Operation | Stage, dispute_fee: int, kept_fee: int) -> Iterator[Fact]:
    happened = list(about.happened)
    for kind, part in happened[:-1]:
        yield Fact(about.order_id, kind, part)
    for kind, part in happened[-1:]:
        lost = about.state == "lost"  # losing a dispute moves no money
        cause = event_id_of(about.outcome, about.place or 0) if about.outcome and not lost else None
        net = about.amount - about.fee
        if kind == "chargeback_won":  # the returned part of the fee is not stored
            yield Fact(about.order_id, kind, part, cause=cause, kept_fee=kept_fee)
        else:
            yield Fact(about.order_id, kind, part, net, about.fee, about.currency, cause, dispute_fee)


def compare_effects(books: Books) -> Iterator[Finding]:
    expected: dict[Key, Fact] = {(each.order_id, each.kind, each.part): each for each in facts(books)}
    moved = {
        (order_id, movement.kind, movement.part): movement
        for order_id, movements in books.movements.items()
        for movement in movements
    }
    booked = journals_by_key(books)
    for key, fact in expected.items():
        yield from _in_wallet(books, fact, moved.get(key), moved)
        yield from _in_ledger(books, fact, booked.get(key, []), booked)
    yield from _caused(books, {*moved, *booked} - expected.keys())
    yield from _flagged(books, moved.keys(), booked.keys())


def journals_by_key(books: Books) -> dict[Key, list[Journal]]:
    """The journals of each fact; one for each currency of a journal."""
    booked: dict[Key, list[Journal]] = {}
    for order_id, journals in books.journals.items():
        for journal in journals:
            booked.setdefault((order_id, journal.kind, journal.part), []).append(journal)
    return booked


def _in_wallet(books: Books, fact: Fact, found: Movement | None, moved: dict[Key, Movement]) -> Iterator[Finding]:
    check, what = IN_WALLET[fact.kind], f"{fact.kind} {fact.part}"
    if found is None:
        yield Finding(check, fact.order_id, f"{what}, and no wallet was moved", TO_WALLET)
        return
    terms = books.terms.get(fact.order_id)
    if fact.cause is not None and found.cause != fact.cause:
        yield Finding(check, fact.order_id, f"{what} moved a wallet because of {found.cause}, not of its fact")
    elif terms is not None and (found.seller, found.currency) != (terms.seller, terms.currency):
        yield Finding(check, fact.order_id, f"{what} moved {found.seller} {found.currency}")
    elif fact.net is not None and found.amount not in {fact.signed(fact.net + d) for d in (0, fact.dispute_fee)}:
        yield Finding(check, fact.order_id, f"{what} moved {found.amount}, of {fact.signed(fact.net)}")
    before = _taken_back(fact, moved)
    if before is not None and not 0 <= -before.amount - found.amount <= fact.kept_fee:
        yield Finding(check, fact.order_id, f"{what} moved {found.amount}, to take back {before.amount}")


def _in_ledger(books: Books, fact: Fact, found: list[Journal], booked: dict[Key, list[Journal]]) -> Iterator[Finding]:
    check, what = IN_LEDGER[fact.kind], f"{fact.kind} {fact.part}"
    if not found:
        yield Finding(check, fact.order_id, f"{what}, and no journal was posted", TO_LEDGER)
        return
    if fact.cause is not None and {journal.cause for journal in found} != {fact.cause}:
        yield Finding(check, fact.order_id, f"{what} was posted because of {found[0].cause}, not of its fact")
    lines = {(journal.gross, journal.net, journal.fee) for journal in found if journal.currency == fact.currency}
    if fact.net is not None and not lines & _lines(fact):
        yield Finding(check, fact.order_id, f"{what} is booked as {sorted(lines)}, not as {sorted(_lines(fact))}")
    terms = books.terms.get(fact.order_id)
    wrong = {j.payable for j in found} - {None, f"seller:{terms.seller}:payable" if terms else None}
    if terms is not None and wrong:
        yield Finding(check, fact.order_id, f"{what} is booked for {sorted(map(str, wrong))}")
    before = _taken_back(fact, booked)
    if before is not None and not _takes_back(found, before, fact.kept_fee):
        yield Finding(check, fact.order_id, f"{what} is booked as {_amounts(found)}, to take back {_amounts(before)}")


def _lines(fact: Fact) -> set[tuple[int, int, int]]:
    """The (gross, net, fee) that a journal may have: the seller bears the dispute fee, or the platform does."""
    assert fact.net is not None
    gross, net = fact.net + fact.fee + fact.dispute_fee, fact.net
    fee = fact.signed(fact.fee)
    return {(fact.signed(gross), fact.signed(net + d), fee) for d in (0, fact.dispute_fee)}


def _takes_back(found: list[Journal], before: list[Journal], kept_fee: int) -> bool:
    """Whether the journal reverses the other line by line, except for the part of the dispute fee that the PSP kept."""
    left = Counter[tuple[str, str]]()
    for journal in (*found, *before):
        for name in ("gross", "net", "fee"):
            left[name, journal.currency] += getattr(journal, name)
    return all(-kept_fee <= minor <= 0 if name != "fee" else not minor for (name, _), minor in left.items())


def _amounts(journals: list[Journal]) -> list[tuple[str, int, int, int]]:
    return sorted((journal.currency, journal.gross, journal.net, journal.fee) for journal in journals)


def _taken_back(fact: Fact, effects: dict[Key, E]) -> E | None:
    """The effect that this one reverses."""
    kind = _TAKES_BACK.get(fact.kind)
    return effects.get((fact.order_id, kind, fact.part)) if kind else None


def _caused(books: Books, others: set[Key]) -> Iterator[Finding]:
    """Movements and journals without a fact. A charge's are compared with their order by the pay-in's page."""
    for order_id, kind, part in others:
        if (kind, part) != (CAPTURED, "") and kind in KINDS:
            yield Finding(
                "money_back_caused", order_id, f"{kind} {part or 'of the charge'}: the executor has no such fact"
            )


# ── payments ─────────────────────────────────────────────────────────────────────────────────────────────────────────

STATUS = {"done": "succeeded", "reversed": "reversed", "failed": "failed"}


def _flagged(books: Books, there: Collection[Key], posted: Collection[Key]) -> Iterator[Finding]:
    for key, operation in books.operations.items():
        if operation.kind == "charge" or (not operation.seq and (operation.turn, operation.state) == (1, "done")):
            continue  # an automatic capture without any reversal
        status, asked = STATUS.get(operation.state, "processing"), books.asked.get(key)
        if asked is None or asked.status != status:
            heard_ = asked.status if asked else "unknown"
            told = f"{operation.kind} {operation.id} is {operation.state}, and {heard_} in payments"
            yield Finding("operations_flagged", operation.order_id, told, TO_PAYMENTS)
        elif operation.kind != "void":
            flags = (asked.wallet_updated, asked.ledger_updated)
            yield from _flags(operation, f"{operation.kind} {operation.id}", flags, there, posted)
    for stage_key, stage in books.stages.items():
        stage_told = books.told.get(stage_key)
        if stage.state in ("waiting", "orphaned"):
            continue
        if stage_told is None or stage_told.status != stage.state:
            told = f"dispute {stage.part} is {stage.state}, and not so in payments"
            yield Finding("operations_flagged", stage.order_id, told, TO_PAYMENTS)
        else:
            flags = (stage_told.wallet_updated, stage_told.ledger_updated)
            yield from _flags(stage, f"dispute {stage.part}", flags, there, posted)


def _flags(
    about: Operation | Stage, name: str, flags: tuple[bool, bool], moved: Collection[Key], booked: Collection[Key]
) -> Iterator[Finding]:
    """The flags of payments are set if and only if the last fact is booked in the store."""
    for kind, part in list(about.happened)[-1:]:
        key = (about.order_id, kind, part)
        for room, flag, there, hop in zip(("wallet", "ledger"), flags, (moved, booked), (MOVED, POSTED), strict=True):
            if key in there and not flag:
                yield Finding("operations_flagged", about.order_id, f"{name} is in the {room}: payments misses it", hop)
            elif flag and key not in there:
                yield Finding("operations_flagged", about.order_id, f"{name} is flagged, and not in the {room}")
