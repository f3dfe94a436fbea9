"""Letters that wait for an operator, or for their next try, are stuck money: told with amount, age and what comes next."""

from __future__ import annotations

from tests.contract.rooms import Books, Log, Process
from topics.runtime.dead_letters.stuck import stuck_letters
from topics.runtime.shape.limits import StuckLimits
from topics.runtime.shape.stuck import Stuck
from topics.settings import Settings


def waiting(process: Process, settings: Settings) -> list[Stuck]:
    with process.store.transaction() as conn:
        return stuck_letters(conn, "probe", settings, process.now)


def test_a_dead_letter_is_told_at_once_with_its_money_and_the_command_that_replays_it(
    process: Process, books: Books, log: Log, settings: Settings
) -> None:
    books.breaks("code")
    process.apply(log.capture("k", 1, "permanent"), log.capture("k", 2), log.capture("free", 1))
    [dead] = waiting(process, settings)
    [(letter,)] = books.rows("SELECT letter_id::text FROM parked WHERE state = 'dead'")
    assert (dead.room, dead.id, dead.state, dead.age_s) == ("probe", letter, "dead", 0)
    assert [amount.minor > 0 for amount in dead.amounts] == [True]
    assert dead.checkout_id is not None
    assert f"tally dlq replay probe/{letter}" in dead.next
    assert "1 of its key wait behind it" in dead.next
    books.run("UPDATE parked SET state = 'discarded' WHERE state = 'dead'")
    process.drain()
    assert waiting(process, settings) == []


def test_a_parked_letter_is_told_once_it_is_tried_for_longer_than_its_limit(
    process: Process, books: Books, log: Log, settings: Settings
) -> None:
    books.breaks("world")
    process.apply(log.capture("k", 1, "transient"))
    assert waiting(process, settings) == []
    process.drain(after_s=6)
    assert waiting(process, settings) == []
    impatient = settings.model_copy(update={"stuck": StuckLimits(parked_s=5)})
    [parked] = waiting(process, impatient)
    assert (parked.state, parked.age_s) == ("parked", 6)
    assert parked.next.startswith("retried at ")
    books.mends("world")
    process.drain(after_s=5000)
    assert waiting(process, impatient) == []


def test_what_cannot_be_read_is_told_without_an_amount(process: Process, log: Log, settings: Settings) -> None:
    process.apply(log.record(b"not JSON", key=b"k", headers=()))
    [dead] = waiting(process, settings)
    assert (dead.state, dead.amounts, dead.checkout_id) == ("dead", (), None)


def test_letters_that_are_done_are_not_read_to_find_those_that_wait(process: Process) -> None:
    """An index of the others alone, which serves this statement. In a small table the planner may take another one."""
    with process.store.transaction() as conn:
        conn.execute("SET LOCAL enable_seqscan = off")
        conn.execute("SET LOCAL enable_sort = off")
        plan = conn.execute("EXPLAIN SELECT seq FROM parked WHERE state IN ('parked', 'dead') ORDER BY seq")
        index = conn.execute(
            "SELECT indexdef FROM pg_indexes WHERE indexname = 'parked_waiting' AND schemaname = 'probe'"
        )
        assert "Index" in str(plan.fetchall())
        assert "(seq) WHERE (state = ANY (ARRAY['parked'::text, 'dead'::text]))" in str(index.fetchall())
