"""500 pay-outs to 50 sellers in four currencies on the real stack, two processes for each room, with every ending; and 1,000
by files to a bank, by executors that are killed at each step of a file.

Some are converted, approved, rejected, cancelled, refused; sellers are frozen while theirs are under way. In the end the
provider's and the bank's own books, the ledger and the wallets are equal to the cent, no transfer was made twice, and the
auditor finds nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from producers.keys import create_key
from tests.journey import bank_payees
from tests.journey.bank_payees import BankMail, at_bank, austrian, sums_at_bank
from tests.journey.desk import Desk
from tests.journey.payees import at_provider, iban, in_ledger, money, transfers
from tests.journey.till import Till
from tests.journey.whole import running, settings_for
from topics.exchange_rates import FxRate
from topics.payout_rules import ApprovalRule, PayoutRules
from topics.runtime.shape.reading import read
from topics.settings import Settings

SELLERS, EACH = 50, 10
BANKED, BANKED_EACH = 20, 50
FILE_STEPS = {
    "executor-1": ["bank_file.closed=kill:1", "bank_file.renamed=kill:1"],
    "executor-2": ["bank_file.closed=kill:1", "bank_file.delivered=kill:1"],
}
CURRENCIES = ("EUR", "USD", "JPY", "BHD")
ENDINGS = {"50": "paid", "01": "failed", "02": "failed", "03": "returned", "04": "paid"}  # by the account's last digits
UNIT = 10_000  # minor units of a small pay-out; twice as much needs an approval
RULES = PayoutRules(
    approvals=tuple(
        ApprovalRule(currency=currency, above=money(int(UNIT * 1.5), currency), persons=1) for currency in CURRENCIES
    ),
    destination_cooling_s=0,
)

RATES = [
    FxRate(currency="EUR", payout_currency=to, rate=rate, spread_bps=50)
    for to, rate in (("USD", "1.0825"), ("JPY", "162.35"), ("BHD", "0.40815"))
]


@dataclass(frozen=True)
class Payee:
    """A seller whose account has this ending."""

    number: int

    @property
    def account(self) -> str:
        return f"payee-{self.number}"

    @property
    def currency(self) -> str:
        return CURRENCIES[self.number % len(CURRENCIES)]

    @property
    def ending(self) -> str:
        return list(ENDINGS)[self.number % len(ENDINGS)]

    @property
    def paid_in(self) -> str:
        """Most sellers with euros are paid in another currency."""
        return CURRENCIES[self.number // 4 % 4] if self.currency == "EUR" else self.currency

    @property
    def freezes(self) -> bool:
        return self.number % 7 == 0

    @property
    def funds(self) -> int:
        return UNIT * 2 * EACH

    def destination(self) -> dict[str, str]:
        return {"type": "iban", "iban": iban(self.number, self.ending), "holder": f"Payee {self.number}"}


@dataclass(frozen=True)
class BankPayee(Payee):
    """A seller whose account only the bank reaches."""

    @property
    def account(self) -> str:
        return f"banked-{self.number % len(bank_payees.ENDINGS)}-{self.number}"

    @property
    def currency(self) -> str:
        return "EUR"

    @property
    def paid_in(self) -> str:
        return "EUR"

    @property
    def ending(self) -> str:
        return list(bank_payees.ENDINGS)[self.number % len(bank_payees.ENDINGS)]

    @property
    def funds(self) -> int:
        return UNIT * 2 * BANKED_EACH

    def destination(self) -> dict[str, str]:
        return {"type": "iban", "iban": austrian(self.number, self.ending), "holder": f"Banked {self.number}"}


@dataclass
class Payroll:
    """What was asked for, and what should become of it."""

    desk: Desk
    people: Till  # with the key of somebody who approves
    wanted: dict[str, str] = field(default_factory=dict)  # pay-out → status in the end

    def ask(self, payee: Payee, what: str, minor: int, status: str) -> str:
        id_ = f"{payee.account}-{what}"
        body = {"payout_id": id_, "seller_account": payee.account, "currency": payee.currency}
        asked = {**body, "amount": money(minor, payee.currency), "payout_currency": payee.paid_in}
        code, answer = self.desk.ask("POST", "/v1/payouts", asked)
        again = self.desk.ask("POST", "/v1/payouts", asked)
        assert code == again[0], f"{asked}: {code} {answer}, then {again}"
        if status == "too much":
            assert (code, answer["code"]) == (422, "insufficient_funds"), answer
            return id_
        assert code == 202, answer
        self.wanted[id_] = status
        return id_

    def shown(self, payout_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.desk.whole.till.get(f"/v1/payouts/{payout_id}")
        return found

    def decide(self, payout_id: str, decision: str) -> None:
        def waits() -> list[str]:
            return [] if self.shown(payout_id)["status"] == "awaiting_approval" else [payout_id]

        self.desk.until(waits)
        held = self.people.get("/v1/ops/payouts?status=awaiting_approval&limit=500")["payouts"]
        sha256 = next(each["sha256"] for each in held if each["payout_id"] == payout_id)
        body = json.dumps({"decision": decision, "sha256": sha256, "reason": "invoice seen"}).encode()
        status, _, answer = self.people.until_answered("POST", f"/v1/ops/payouts/{payout_id}/approvals", body)
        assert status == 202, answer

    def unlike(self, returned: str = "returned") -> list[str]:
        """What has not become of pay-outs yet; of those that come back, whether they are `returned` yet."""
        statuses = dict(self._listed())
        wanted = {id_: returned if status == "returned" else status for id_, status in self.wanted.items()}
        return [f"{id_} is {statuses.get(id_)}" for id_, status in wanted.items() if statuses.get(id_) != status]

    def _listed(self) -> Iterator[tuple[str, str]]:
        cursor = ""
        while True:
            page = self.desk.whole.till.get(f"/v1/payouts?limit=500{cursor}")
            yield from ((each["payout_id"], each["status"]) for each in page["payouts"])
            if page["next_cursor"] is None:
                return
            cursor = f"&cursor={page['next_cursor']}"


@pytest.fixture
def desk(make_stack: Callable[..., Settings]) -> Iterator[Desk]:
    settings = settings_for(make_stack, webhooks=True, payouts=RULES, fx=RATES)
    providers = (bank_payees.bank_account(settings.home), *settings.payout_providers)
    settings = settings.model_copy(update={"payout_providers": providers})
    bank_payees.begin_on_a_monday(settings)
    with running(settings, FILE_STEPS) as whole:
        yield Desk(whole)


def test_500_pay_outs_end_in_every_way_and_all_books_agree(desk: Desk) -> None:
    settings = desk.whole.settings
    key = create_key(settings, "treasury", ("payouts:approve", "ops:read"))
    payroll = Payroll(desk, Till(desk.whole.till.url, key))
    mail = BankMail(settings, Till(desk.whole.till.url, create_key(settings, "mail", ("recon:write",))))
    banked = [BankPayee(number) for number in range(BANKED)]
    payees = [*(Payee(number) for number in range(SELLERS)), *banked]
    with ThreadPoolExecutor(8) as pool:
        for payee in payees:
            sold(desk, payee)
        desk.until(lambda: unfunded(desk, payees))
        adds_up(desk, payees)
        list(pool.map(lambda payee: pay_out(payroll, payee), payees))
        adds_up(desk, payees)
        list(pool.map(lambda payee: decided(payroll, payee), payees[:SELLERS]))
        for payee in payees[:SELLERS]:
            if payee.freezes:
                put(desk, payee, "active")
    desk.hurry_until(mail.carried(lambda: payroll.unlike("paid")), by_s=300.0)
    adds_up(desk, payees)
    desk.hurry_until(mail.carried(payroll.unlike), by_s=86_400.0)
    adds_up(desk, payees)
    assert len(payroll.wanted) == SELLERS * (EACH - 1) + BANKED * BANKED_EACH
    sent = Counter(each["payout"] for each in (*transfers(settings), *at_bank(settings)))
    assert set(sent.values()) == {1}, "a pay-out was sent twice"
    assert sum(sent[id_] for id_ in payroll.wanted if id_.startswith("banked")) == BANKED * BANKED_EACH
    assert mail.unknown == 0
    assert {point for _, point in desk.whole.killed} == {point for points in FILE_STEPS.values() for point in points}
    desk.agree()
    assert in_ledger(settings) == at_provider(settings) + sums_at_bank(settings)
    assert kept(settings) == {"EUR": of_conversions(desk)}


def of_conversions(desk: Desk) -> int:
    """What we keep of those that stay paid: at these rates and amounts just the spread, without any rounding."""
    listed = desk.whole.till.get("/v1/payouts?limit=500&status=paid")["payouts"]
    converted = [minor(each["amount"]) for each in listed if each["target"]]
    assert len(converted) > 10, "some were paid in another currency"
    return sum(converted) * 50 // 10_000


def kept(settings: Settings) -> dict[str, int]:
    statement = "SELECT currency, credits - debits AS kept FROM account_view WHERE account = 'platform:fx-spread'"
    return {row["currency"]: row["kept"] for row in read(settings, "ledger", statement, [])}


def sold(desk: Desk, payee: Payee) -> None:
    """Registered, and with money: one order."""
    put(desk, payee, "active")
    order = desk.new("order")
    body = {
        "checkout_id": order,
        "buyer_info": {"buyer_account": "buyer-1", "name": "Ann Lee"},
        "payment_method": {"token": "tok_visa"},
        "payment_orders": [
            {
                "payment_order_id": order,
                "seller_account": payee.account,
                "amount": money(payee.funds, payee.currency),
                "currency": payee.currency,
            }
        ],
    }
    status, answer = desk.ask("POST", "/v1/payments", body)
    assert status == 202, answer


def put(desk: Desk, payee: Payee, state: str) -> None:
    body = {"name": f"Payee {payee.number}", "country": "DE", "state": state, "destination": payee.destination()}
    status, answer = desk.ask("PUT", f"/v1/sellers/{payee.account}", body)
    assert status in (200, 201), answer


def unfunded(desk: Desk, payees: list[Payee]) -> list[str]:
    return [payee.account for payee in payees if not wallet(desk, payee)]


def wallet(desk: Desk, payee: Payee) -> dict[str, Any]:
    """→ the wallet in the seller's currency; empty before its first movement"""
    balances = desk.ask("GET", f"/v1/wallets/{payee.account}")[1].get("balances", [])
    return next((each for each in balances if each["currency"] == payee.currency), {})


def pay_out(payroll: Payroll, payee: Payee) -> None:
    """By the bank small ones alone. Others: six small ones, among them what a freeze overtakes; three that wait for a person; one
    that is too much.
    """
    if isinstance(payee, BankPayee):
        for number in range(BANKED_EACH):
            payroll.ask(payee, f"small-{number}", UNIT, bank_payees.ENDINGS[payee.ending])
        return
    ends = ENDINGS[payee.ending]
    for number in range(6):
        if payee.freezes and number == 3:
            put(payroll.desk, payee, "frozen")
        payroll.ask(payee, f"small-{number}", UNIT, ends)
    payroll.ask(payee, "approved", UNIT * 2, ends)
    payroll.ask(payee, "rejected", UNIT * 2, "rejected")
    payroll.ask(payee, "cancelled", UNIT * 2, "cancelled")
    payroll.ask(payee, "too-much", UNIT * 100, "too much")


def decided(payroll: Payroll, payee: Payee) -> None:
    payroll.decide(f"{payee.account}-approved", "approved")
    payroll.decide(f"{payee.account}-rejected", "rejected")
    status, answer = payroll.desk.ask("POST", f"/v1/payouts/{payee.account}-cancelled/cancel")
    assert status == 202, answer


def adds_up(desk: Desk, payees: list[Payee]) -> None:
    """Each cent of a wallet has one line that says why it is where it is."""
    for payee in payees:
        told = desk.whole.till.get(f"/v1/sellers/{payee.account}/payability")
        of_it = next(each for each in told["currencies"] if each["currency"] == payee.currency)
        assert sum(minor(line["amount"]) for line in of_it["lines"]) == minor(of_it["total"]), of_it


def minor(amount: str) -> int:
    return int(amount.replace(".", ""))
