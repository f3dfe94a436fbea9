"""Pay-outs at a provider in a process of its own, by callers that are killed or withdrawn from: each is sent once at most."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta

import pytest

from consumers.executor.consumer import build
from consumers.executor.payout import call_id_of
from consumers.executor.sender import run_sender
from operations.auditor.engine.run import Patience, Run
from operations.auditor.engine.stores import Stores
from operations.auditor.transfers.page import Transfers
from operations.cli.commands.stuck import find_stuck
from operations.stack.servers import Servers
from psp.registry import make_providers
from schemas.conversions import Conversion
from schemas.money import Money
from schemas.payouts import PayoutReady
from tests.contract.calls_running import (
    PUBLISHING,
    STEPS,
    Desk,
    as_message,
    asleep_calling,
    calling,
    harbour_account,
    hear,
    killed_calling,
    killed_hearing,
    topics_for_nobody,
)
from tests.simulator.running import RunningSimulator, send, wait_for
from tests.unit.payout_cases import AMOUNT, PAID, notified, ready, sealed_for, withdrawn
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.consumer import Message
from topics.runtime.shape.failpoints import NAMES
from topics.settings import Settings, SettingsError


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    running = RunningSimulator(tmp_path_factory.mktemp("simulator"))
    yield running
    running.kill()


@pytest.fixture(scope="module")
def prefix(servers: Servers) -> Iterator[str]:
    with topics_for_nobody(servers) as prefix:
        yield prefix


@pytest.fixture
def desk(simulator: RunningSimulator, make_store: Callable[..., Settings], prefix: str) -> Desk:
    """An executor at harbour. They share a folder, and so a clock."""
    providers = (harbour_account(simulator.url),)
    return Desk(make_store(home=simulator.folder, topic_prefix=prefix, payout_providers=providers))


# Of accounts that end in 50.
IN_YEN = Conversion(Money(19_384, "JPY"), "162.35", 50, Money(11_940, "EUR"), Money(60, "EUR"))


def released(desk: Desk, payout_id: str, ending: str = "00", release_no: int = 1) -> Message:
    """A release as the room of pay-outs says it, good for 15 minutes from now."""
    event = ready_for(desk, payout_id, ending, release_no)
    return as_message(event, "payouts.v1", f"{payout_id} released {release_no}")


def ready_for(desk: Desk, payout_id: str, ending: str, release_no: int) -> PayoutReady:
    deadline = Clock(desk.settings.clock_file).now() + timedelta(minutes=15)
    destination = sealed_for(desk.settings, "seller-1", f"acct-{ending}")
    conversion = IN_YEN if ending == "50" else None
    return ready(release_no, payout_id, deadline=deadline, destination=destination, conversion=conversion)


def states(desk: Desk) -> dict[str, str]:
    return {str(payout): str(state) for payout, state in desk.rows("SELECT payout_id, state FROM payouts")}


def transfers(desk: Desk) -> Mapping[str, list[str]]:
    """The provider's own books: statuses by pay-out, by its own listing."""
    found: dict[str, list[str]] = {}
    provider = make_providers(desk.settings.http_providers)["harbour"]
    listed, more = provider.read_list(send(provider.list_transfers())[2])
    assert more is None, "a test makes fewer transfers than a page holds"
    for transfer in listed:
        assert transfer.amount in (AMOUNT, IN_YEN.target)
        found.setdefault(transfer.payout_id, []).append(transfer.status)
    return found


def test_every_ending_of_a_transfer_is_known_by_asking_alone(desk: Desk) -> None:
    own = secrets.token_hex(3)
    endings = {"00": "paid", "01": "rejected", "02": "failed", "03": "returned", "04": "paid", "50": "paid"}
    hear(desk.settings, [released(desk, f"{ending}-{own}", ending) for ending in endings])
    with calling(desk.settings):
        wait_for(lambda: set(states(desk).values()) == {"submitted", "rejected"})
        desk.now_is_later_by(2 * 86_400)
        desk.rest()
    assert states(desk) == {f"{ending}-{own}": state for ending, state in endings.items()}
    assert {payout: one for payout, [one] in transfers(desk).items() if payout.endswith(own)} == states(desk)
    assert audited(desk) == {}
    desk.rows("UPDATE payouts SET state = 'paid' WHERE state = 'returned'")  # a return that nobody heard
    desk.rows("UPDATE payouts SET amount_minor = 11_999, sent_minor = 11_999 WHERE payout_id = %s", f"00-{own}")
    desk.rows("UPDATE payouts SET sent_minor = 19_383 WHERE payout_id = %s", f"50-{own}")
    desk.rows("UPDATE calls SET subject = 'of nobody' WHERE subject = %s", f"04-{own}")
    assert audited(desk) == {
        f"03-{own}": {"transfers_known"},
        f"00-{own}": {"transfers_known"},
        f"50-{own}": {"transfers_known"},
        f"04-{own}": {"payouts_called"},
        "of nobody": {"payouts_called"},
    }


def audited(desk: Desk) -> dict[str, set[str]]:
    """What the auditor's page of transfers finds at a second look, too, by pay-out; not of other tests' transfers."""
    with Stores(desk.settings) as stores:
        page = Transfers(Run(desk.settings, stores, None, {}, print, None, Patience()))  # type: ignore[arg-type]
        page.read_stores()
        page.read_psps()
        mine = {*states(desk), "of nobody"}
        suspects = {finding for finding in page.first_look() if finding.key in mine}
        found: dict[str, set[str]] = {}
        for finding in page.look_again(suspects) & suspects if suspects else ():
            found.setdefault(finding.key, set()).add(finding.check)
        return found


def finish(desk: Desk) -> None:
    """Whatever callers that were killed have left."""
    desk.lose_leases()
    with calling(desk.settings):
        desk.rest(step_s=5)


def failed_and_paid_after_all(desk: Desk, simulator: RunningSimulator, owns: Sequence[str]) -> None:
    """Transfers that the provider failed, told so, and paid after all."""
    hear(desk.settings, [released(desk, f"check-{own}", "02") for own in owns])
    finish(desk)
    assert {states(desk)[f"check-{own}"] for own in owns} == {"failed"}
    for own in owns:
        simulator.control("POST", "/control/return", {"subject": f"check-{own}", "again": True})


def told_paid(desk: Desk, payout_id: str) -> Message:
    [(call_id, theirs)] = desk.rows("SELECT call_id, provider_reference FROM payouts WHERE payout_id = %s", payout_id)
    event = notified(PAID, reference=call_id, provider_reference=theirs)
    return as_message(event, "psp-notifications.v1", f"{payout_id} paid")


def withdrawal(payout_id: str) -> Message:
    return as_message(withdrawn(1, payout_id), "payouts.v1", f"{payout_id} withdrawn")


def paid_once(desk: Desk, *payouts: str) -> None:
    ended = desk.rows("SELECT payout_id, state, turn FROM payouts WHERE payout_id = ANY(%s)", list(payouts))
    assert {(payout, state, turn) for payout, state, turn in ended} == {
        (payout, "paid", 2 if str(payout).startswith("check") else 1) for payout in payouts
    }
    assert desk.rows("SELECT 1 FROM parked") == []
    books = transfers(desk)
    assert {payout: books[payout] for payout in payouts} == {payout: ["paid"] for payout in payouts}


def test_a_caller_killed_at_any_step_of_a_send_a_question_or_a_check_pays_once(
    desk: Desk, simulator: RunningSimulator
) -> None:
    failpoints = [name for name in NAMES if name.startswith("call.")]
    owns = [secrets.token_hex(3) for _ in failpoints]
    failed_and_paid_after_all(desk, simulator, owns)
    unknown(desk, simulator, [f"question-{own}" for own in owns])
    for failpoint, own in zip(failpoints, owns, strict=True):
        for kind, message in {
            "check": told_paid(desk, f"check-{own}"),
            "question": None,
            "send": released(desk, f"send-{own}"),
        }.items():
            if message:
                hear(desk.settings, [message])
            else:
                make_due(desk, f"question-{own}")
            assert killed_calling(desk.settings, failpoint), f"{kind} {failpoint}"
    finish(desk)
    paid_once(desk, *(f"{kind}-{own}" for kind in ("send", "question", "check") for own in owns))


def unknown(desk: Desk, simulator: RunningSimulator, payouts: Sequence[str]) -> None:
    """Sent, and their replies lost; their questions are not due for a while."""
    for payout in payouts:
        simulator.control("POST", "/control/next", {"op": "transfer", "subject": payout, "fault": "reset_charged"})
    hear(desk.settings, [released(desk, payout) for payout in payouts])
    with calling(desk.settings):
        wait_for(lambda: {states(desk)[payout] for payout in payouts} == {"unknown"})
    desk.rows("UPDATE calls SET due_at = due_at + interval '1 hour' WHERE subject = ANY(%s)", list(payouts))


def make_due(desk: Desk, payout: str) -> None:
    desk.rows("UPDATE calls SET due_at = due_at - interval '2 hours' WHERE subject = %s", payout)


def test_an_executor_killed_at_any_step_of_a_release_a_withdrawal_or_a_contradiction_pays_once(
    desk: Desk, simulator: RunningSimulator
) -> None:
    """When they are heard, and when the provider's answers come. What was withdrawn is paid by its second release."""
    owns = [secrets.token_hex(3) for _ in STEPS]
    failed_and_paid_after_all(desk, simulator, owns)
    for failpoint, own in zip(STEPS, owns, strict=True):
        hear(desk.settings, [released(desk, f"withdrawal-{own}")])
        heard = [released(desk, f"send-{own}"), withdrawal(f"withdrawal-{own}"), told_paid(desk, f"check-{own}")]
        if failpoint not in PUBLISHING:
            assert killed_hearing(desk.settings, failpoint, heard), failpoint
        hear(desk.settings, heard)
        assert states(desk)[f"withdrawal-{own}"] == "not_sent"
        hear(desk.settings, [released(desk, f"withdrawal-{own}", release_no=2)])
        assert killed_calling(desk.settings, failpoint), failpoint
    finish(desk)
    paid_once(desk, *(f"{kind}-{own}" for kind in ("send", "withdrawal", "check") for own in owns))


def test_a_release_withdrawn_while_its_caller_is_dead_is_paid_once_or_never_and_we_know_it(desk: Desk) -> None:
    """The withdrawal comes too late: the call may be out. It is asked about, and not sent again where it never arrived."""
    own = secrets.token_hex(3)
    hear(desk.settings, [released(desk, own)])
    assert killed_calling(desk.settings, "call.before_send")
    hear(desk.settings, [withdrawal(own)])
    assert states(desk) == {own: "calling"}
    finish(desk)
    assert states(desk) == {own: "unresolved"}
    assert own not in transfers(desk)


def test_a_caller_that_sleeps_past_its_lease_and_then_sends_pays_nothing_twice(desk: Desk) -> None:
    """Meanwhile the release was withdrawn, too late, and asked about by another caller. Its own late send is paid still."""
    own = secrets.token_hex(3)
    hear(desk.settings, [released(desk, own)])
    with asleep_calling(desk.settings, "call.before_send") as wake:
        hear(desk.settings, [withdrawal(own)])
        finish(desk)
        before = heard(desk)
        wake()
        wait_for(lambda: heard(desk) > before)  # the late reply; what is asked after it may be answered by then, too
    finish(desk)
    paid_once(desk, own)


def heard(desk: Desk) -> int:
    [(count,)] = desk.rows("SELECT count(*) FROM inbox")
    assert isinstance(count, int)
    return count


def test_a_provider_whose_calls_are_open_must_not_leave_the_settings(desk: Desk) -> None:
    hear(desk.settings, [released(desk, secrets.token_hex(3))])
    gone = desk.settings.model_copy(update={"payout_providers": ()})
    with pytest.raises(SettingsError, match="TALLY_PAYOUT_PROVIDERS: calls at harbour have not ended"):
        run_sender(gone, build(gone), threading.Event(), threading.Event())


@pytest.mark.parametrize(
    ("seller", "provider", "why"),
    [("seller-2", "harbour", b"destination_unreadable"), ("seller-1", "beta", b"other_provider")],
)
def test_a_destination_that_is_not_for_this_call_is_never_sent_and_its_release_ends_at_its_deadline(
    desk: Desk, seller: str, provider: str, why: bytes
) -> None:
    """Sealed for another seller, or an account at another provider."""
    own = secrets.token_hex(3)
    other = sealed_for(desk.settings, seller, "acct-00", provider)
    event = ready_for(desk, own, "00", 1).model_copy(update={"destination": other})
    hear(desk.settings, [as_message(event, "payouts.v1", own)])
    never_sent(desk, desk.settings, own, why)


def test_a_release_to_a_country_that_was_blocked_since_is_never_sent_and_ends_at_its_deadline(desk: Desk) -> None:
    own = secrets.token_hex(3)
    event = ready_for(desk, own, "00", 1)
    hear(desk.settings, [as_message(event, "payouts.v1", own)])
    blocked = frozenset({event.destination.country})
    never_sent(desk, desk.settings.model_copy(update={"payout_countries_blocked": blocked}), own, b"blocked_country")


def never_sent(desk: Desk, settings: Settings, own: str, why: bytes) -> None:
    with calling(settings):
        wait_for(lambda: why in reply_of(desk))
        desk.now_is_later_by(16 * 60)
        wait_for(lambda: states(desk) == {own: "not_sent"})
    assert own not in transfers(desk)


def reply_of(desk: Desk) -> bytes:
    [(reply,)] = desk.rows("SELECT coalesce(reply, '') FROM calls")
    assert isinstance(reply, bytes)
    return reply


def test_no_reply_letter_or_event_holds_the_account(desk: Desk, simulator: RunningSimulator) -> None:
    own = secrets.token_hex(3)
    hear(desk.settings, [released(desk, own, ending="00")])
    simulator.control("POST", "/control/next", {"op": "transfer", "subject": own, "fault": "garbage"})
    finish(desk)
    text = " ".join(str(row) for table in ("calls", "payouts", "parked") for row in desk.rows(f"SELECT * FROM {table}"))
    assert own in text
    assert "acct-00" not in text
    assert "Ada" not in text


def test_a_webhook_before_the_release_it_is_about_is_kept_and_taken_up(desk: Desk) -> None:
    own = secrets.token_hex(3)
    early = notified(PAID, reference=call_id_of(own, 1))
    hear(desk.settings, [as_message(early, "psp-notifications.v1", f"{own} early")])
    assert desk.rows("SELECT psp, taken_at FROM notifications") == [("harbour", None)]
    hear(desk.settings, [released(desk, own)])
    desk.rows("UPDATE calls SET due_at = due_at + interval '1 day'")  # so that only the notification can decide
    with calling(desk.settings):
        wait_for(lambda: states(desk) == {own: "paid"})
    assert own not in transfers(desk)


def test_what_is_stuck_is_told_with_its_amount_and_what_comes_next(desk: Desk, simulator: RunningSimulator) -> None:
    own = secrets.token_hex(3)
    slow, lost = f"slow-{own}", f"lost-{own}"
    hear(desk.settings, [released(desk, slow, "00")])
    with calling(desk.settings):
        wait_for(lambda: states(desk) == {slow: "submitted"})
    desk.rows("UPDATE calls SET state = 'ended'")  # as after ten days of questions
    hear(desk.settings, [released(desk, lost)])
    assert find_stuck(desk.settings) == []
    desk.now_is_later_by(desk.settings.stuck.calling_s + 60)
    [waiting] = find_stuck(desk.settings)
    assert (waiting.id, waiting.state, waiting.psp, waiting.amounts) == (lost, "calling", "harbour", (AMOUNT,))
    assert waiting.next.startswith("is sent at")
    desk.now_is_later_by(desk.settings.stuck.submitted_s)
    unpaid = next(one for one in find_stuck(desk.settings) if one.id == slow)
    assert (unpaid.state, unpaid.next.split(";")[0]) == ("submitted", "the provider was asked for ten days")
