"""Disputes that the simulated PSPs open and decide, and the webhooks of all that is done behind charges."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from psp.payout_port import PayoutProvider, TransferNotification
from psp.port import (
    Captured,
    DisputeState,
    ListedCharge,
    ListedDispute,
    ListedOperation,
    Notification,
    NotThere,
    Pending,
    Psp,
    Reference,
)
from psp.webhooks import genuine
from tests.simulator.behind import a_capture, a_refund, a_void, a_wish, authorised, order_of, sent, wish_of
from tests.simulator.conftest import provider_of, psps_of
from tests.simulator.running import WEBHOOK_SECRETS, RunningSimulator, send, wait_for
from tests.simulator.test_behind import captured, euros, plan
from tests.simulator.test_charging import a_charge, charged
from tests.simulator.test_reversing import refused, reverse
from tests.simulator.test_transfers import a_transfer, transferred


def dispute(simulator: RunningSimulator, subject: str, **wanted: object) -> dict[str, Any]:
    told: dict[str, Any] = simulator.control("POST", "/control/disputes", {"subject": subject, **wanted})
    return told


def found(psp: Psp, told: dict[str, Any], stage: int | None = None) -> object:
    asked = Reference("dispute", told["id"], stage)
    return psp.read_find(asked, *send(psp.find(asked)))


def listed(psp: Psp, page_size: int = 1000) -> list[ListedDispute]:
    entries: list[ListedDispute] = []
    cursor: str | None = None
    while True:
        request = psp.list("dispute", cursor)
        asked = replace(request, url=request.url.replace("=1000", f"={page_size}"))
        page, cursor = psp.read_list("dispute", send(asked)[2])
        entries += page
        if cursor is None:
            return entries


def test_a_dispute_is_about_all_that_was_captured_unless_an_amount_is_given(
    psp: Psp, simulator: RunningSimulator
) -> None:
    charge = authorised(psp)
    sent(psp, a_capture(charge, 1000))
    told = dispute(simulator, order_of(charge))
    assert found(psp, told) == DisputeState(told["id"], 1, "opened", euros(1000), None, "fraudulent", None)
    automatic = a_charge()
    charged(psp, automatic)
    told = dispute(simulator, automatic.call_id, amount=500, fee=1500, reason="not_received", due_by=1_800_000_000)
    state = found(psp, told)
    assert isinstance(state, DisputeState)
    assert (state.amount, state.fee, state.reason) == (euros(500), euros(1500), "not_received")
    assert state.due_by is not None
    assert state.due_by.timestamp() == 1_800_000_000


def test_a_dispute_goes_from_inquiry_to_its_end_and_into_a_second_stage(psp: Psp, simulator: RunningSimulator) -> None:
    charge = captured(psp)
    order = order_of(charge)
    told = dispute(simulator, order, status="inquiry", amount=700)
    for status in ("opened", "won"):
        assert dispute(simulator, order, status=status)["id"] == told["id"]
        state = found(psp, told)
        assert isinstance(state, DisputeState)
        assert (state.stage, state.status, state.amount) == (1, status, euros(700))
    second = dispute(simulator, order, stage=2)
    assert second["id"] == told["id"]
    dispute(simulator, order, stage=2, status="lost")
    latest, first = found(psp, told), found(psp, told, stage=1)
    assert isinstance(latest, DisputeState)
    assert isinstance(first, DisputeState)
    assert (latest.stage, latest.status, first.stage, first.status) == (2, "lost", 1, "won")
    stages = [entry for entry in listed(psp) if entry.dispute_reference == told["id"]]
    assert [(one.stage, one.status, one.reference) for one in stages] == [
        (1, "won", wish_of(charge).call_id),
        (2, "lost", wish_of(charge).call_id),
    ]


def test_a_lost_dispute_may_be_won_after_all_and_gives_back_of_its_fee(psp: Psp, simulator: RunningSimulator) -> None:
    charge = captured(psp)
    told = dispute(simulator, order_of(charge), status="lost", fee=1500)
    dispute(simulator, order_of(charge), status="won", fee_returned=1000)
    state = found(psp, told)
    assert isinstance(state, DisputeState)
    assert (state.status, state.fee) == ("won", euros(1000))


def test_a_second_dispute_may_follow_one_that_is_over(psp: Psp, simulator: RunningSimulator) -> None:
    charge = captured(psp)
    first = dispute(simulator, order_of(charge), status="won")
    second = dispute(simulator, order_of(charge))
    assert second["id"] != first["id"]
    dispute(simulator, order_of(charge), id=second["id"], status="lost")
    assert "more than the 1234" in refused(simulator, "disputes", order_of(charge))


def test_a_dispute_goes_on_though_the_capture_was_taken_back_meanwhile(psp: Psp, simulator: RunningSimulator) -> None:
    charge = captured(psp)
    order = order_of(charge)
    told = dispute(simulator, order)
    reverse(simulator, order)
    again = dispute(simulator, order, id=told["id"])
    assert (again["id"], again["status"]) == (told["id"], "opened")
    assert dispute(simulator, order, id=told["id"], status="lost")["status"] == "lost"
    assert "nothing of" in refused(simulator, "disputes", order)


def test_what_cannot_be_disputed_says_why(psp: Psp, simulator: RunningSimulator) -> None:
    charge = authorised(psp)
    order = order_of(charge)
    assert "nothing of" in refused(simulator, "disputes", order)
    sent(psp, a_capture(charge))
    assert "more than the 1234" in refused(simulator, "disputes", order, amount=1235)
    assert "no dispute" in refused(simulator, "disputes", order, id="dp_nobody")
    dispute(simulator, order, fee=100)
    assert "follows a first that is won or lost" in refused(simulator, "disputes", order, stage=2)
    assert "is opened already" in refused(simulator, "disputes", order, status="inquiry")
    assert "is about 1234" in refused(simulator, "disputes", order, status="won", amount=5)
    assert "more than the fee" in refused(simulator, "disputes", order, status="won", fee_returned=101)
    for spoilt in ({"amount": 0}, {"fee": -1}, {"stage": 3}, {"stage": True}, {"due_by": 1.5}, {"when": 1}):
        refused(simulator, "disputes", order, **spoilt)
    [entry] = [one for one in listed(psp) if one.payment_order_id == order]
    assert (entry.status, entry.amount) == ("opened", euros(1234))


def test_a_dispute_of_nobody_is_not_there(psp: Psp, simulator: RunningSimulator) -> None:
    assert found(psp, {"id": "dp_nobody"}) == NotThere()


def test_disputes_are_listed_page_by_page_with_all_their_stages(psp: Psp, simulator: RunningSimulator) -> None:
    made = []
    for _ in range(3):
        order = order_of(captured(psp))
        dispute(simulator, order, status="won")
        made += [(order, 1), (order, 2)]
        dispute(simulator, order, stage=2)
    assert [(one.payment_order_id, one.stage) for one in listed(psp, page_size=1)][-6:] == made


# ── webhooks ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Hearing:
    """What the simulator told, by each PSP, in genuine webhooks."""

    simulator: RunningSimulator
    psps: dict[str, Psp]
    provider: PayoutProvider
    heard: list[tuple[str, Notification]] = field(default_factory=list)
    heard_of_transfers: list[TransferNotification] = field(default_factory=list)

    def take(self, name: str, headers: dict[str, str], body: bytes, now_s: float) -> int:
        psp = self.psps.get(name) or self.provider
        if not genuine((WEBHOOK_SECRETS[name],), psp.signature(headers), body, now_s):
            return 401
        told = psp.read_notification(body)
        assert told is not None
        if isinstance(told, TransferNotification):
            self.heard_of_transfers.append(told)
        else:
            self.heard.append((name, told))
        return 202

    def time_passes(self, seconds: int) -> None:
        clock = self.simulator.clock
        ahead = int(clock.read_text()) if clock.exists() else 0
        clock.write_text(str(ahead + seconds))

    def of_transfer(self, reference: str) -> set[str]:
        told = [each.told for each in list(self.heard_of_transfers)]
        return {one.status for one in told if one and one.reference == reference}

    def of(self, reference: str) -> list[tuple[str, str | None]]:
        """The statuses told of it, each once, with their codes."""
        entries = [(told.told, told.code) for _, told in list(self.heard)]
        return sorted(
            {(entry.status, code) for entry, code in entries if entry and entry.reference == reference}, key=str
        )


@pytest.fixture(scope="module")
def hearing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hearing]:
    hearings: list[Hearing] = []

    class Endpoint(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            offset = Path(hearings[0].simulator.clock)
            now_s = time.time() + float(offset.read_text() if offset.exists() else "0")
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(hearings[0].take(self.path.strip("/"), headers, body, now_s))
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    running = RunningSimulator(tmp_path_factory.mktemp("telling"), f"http://127.0.0.1:{server.server_address[1]}")
    hearings.append(Hearing(running, psps_of(running), provider_of(running)))
    try:
        yield hearings[0]
    finally:
        running.kill()
        server.shutdown()
        thread.join()
        server.server_close()


def tell_all(hearing: Hearing) -> None:
    for op in ("charge", "capture", "void", "refund"):
        hearing.simulator.control("PUT", "/control/faults", {"op": op, "told": 1})


def test_all_that_is_done_is_told_in_signed_webhooks(hearing: Hearing) -> None:
    tell_all(hearing)
    for psp in hearing.psps.values():
        charge, other = authorised(psp), authorised(psp)
        capture, over, void = a_capture(charge), a_refund(charge, 5000), a_void(other)
        refund = a_refund(charge, 500)
        for operation in (capture, over, void, refund):
            sent(psp, operation)
        told = {capture: "succeeded", void: "succeeded", refund: "succeeded"}
        for operation, status in told.items():
            wait_for(lambda: hearing.of(operation.call_id) == [(status, None)])  # noqa: B023
        wait_for(lambda: hearing.of(over.call_id) == [("declined", "exceeds_captured")])  # noqa: B023
        wait_for(lambda: hearing.of(wish_of(charge).call_id) == [("authorised", None)])  # noqa: B023
    kinds = {told.told.kind for _, told in hearing.heard if isinstance(told.told, ListedOperation | ListedCharge)}
    assert kinds == {"charge", "capture", "void", "refund"}


def test_what_is_taken_back_and_done_again_is_told_unasked(hearing: Hearing) -> None:
    for psp in hearing.psps.values():
        automatic, charge = a_charge(), authorised(psp)
        assert isinstance(charged(psp, automatic), Captured)
        capture = a_capture(charge)
        sent(psp, capture)
        reverse(hearing.simulator, automatic.payment_order_id)
        reverse(hearing.simulator, order_of(charge))
        for reference in (automatic.call_id, capture.call_id):
            wait_for(lambda: ("reversed", None) in hearing.of(reference))  # noqa: B023
        reverse(hearing.simulator, order_of(charge), again=True)
        wait_for(lambda: hearing.of(capture.call_id) == [("reversed", None), ("succeeded", None)])  # noqa: B023


def test_disputes_are_told_with_each_step(hearing: Hearing) -> None:
    for psp in hearing.psps.values():
        charge = captured(psp)
        dispute(hearing.simulator, order_of(charge), status="inquiry")
        dispute(hearing.simulator, order_of(charge), fee=100)
        dispute(hearing.simulator, order_of(charge), status="won")
        dispute(hearing.simulator, order_of(charge), stage=2)

        def steps() -> set[tuple[int, str]]:
            reference = wish_of(charge).call_id  # noqa: B023
            disputes = [told.told for _, told in list(hearing.heard) if isinstance(told.told, ListedDispute)]
            return {(one.stage, one.status) for one in disputes if one.reference == reference}

        wait_for(lambda: steps() == {(1, "inquiry"), (1, "opened"), (1, "won"), (2, "opened")})


def test_all_that_becomes_of_a_transfer_is_told_unasked_but_for_the_silent_one(hearing: Hearing) -> None:
    """Of the one that is returned later, after the process died and was started again."""
    endings = {"00": {"paid"}, "01": set(), "02": {"failed"}, "03": {"paid", "returned"}, "04": set()}
    made = {ending: a_transfer(ending=ending) for ending in endings}
    for transfer in made.values():
        transferred(hearing.provider, transfer)
    hearing.simulator.kill()
    hearing.simulator.start()
    hearing.time_passes(3)
    wait_for(lambda: hearing.of_transfer(made["03"].call_id) == {"paid"})
    hearing.time_passes(86_400)
    for ending, told in endings.items():
        wait_for(lambda: hearing.of_transfer(made[ending].call_id) == told)  # noqa: B023


def test_what_was_pending_is_told_when_it_is_decided_though_the_process_died(hearing: Hearing) -> None:
    waiting = []
    for psp in hearing.psps.values():
        refund, wish = a_refund(captured(psp), 500), a_wish(token="tok_3ds")
        plan(hearing.simulator, refund, "pending_declined")
        assert isinstance(sent(psp, refund), Pending)
        assert isinstance(sent(psp, wish), Pending)
        waiting.append((refund.call_id, wish.call_id))
    hearing.simulator.kill()
    hearing.simulator.start()
    hearing.time_passes(10)
    for refunded, authorised_ in waiting:
        wait_for(lambda: ("declined", "refused_by_issuer") in hearing.of(refunded))  # noqa: B023
        wait_for(lambda: ("authorised", None) in hearing.of(authorised_))  # noqa: B023


def test_an_operation_whose_answer_was_lost_is_told(hearing: Hearing) -> None:
    for op in ("capture", "void", "refund"):
        hearing.simulator.control("PUT", "/control/faults", {"op": op, "clear": True})
    for psp in hearing.psps.values():
        refund = a_refund(captured(psp), 500)
        plan(hearing.simulator, refund, "500_charged")
        sent(psp, refund)
        wait_for(lambda: hearing.of(refund.call_id) == [("succeeded", None)])  # noqa: B023
