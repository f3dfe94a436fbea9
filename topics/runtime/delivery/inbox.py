"""Claims on ids: what came before takes no effect again, and an id with other contents is a dead letter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from schemas.envelope import digest
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.decode import Failure, Incoming
from topics.runtime.shape.store import uuid_array

DAYS = 60
TRIM_ROWS = 10_000
# now() is one moment for the whole statement, so the index serves: clock_timestamp() had all claims read every time.
TRIM = """
DELETE FROM inbox WHERE id IN (
    SELECT id FROM inbox WHERE claimed_at < now() - make_interval(days => %s)
    AND NOT EXISTS (SELECT FROM parked WHERE event_id = inbox.id::text)
    LIMIT %s FOR UPDATE SKIP LOCKED)
"""

# Not ON CONFLICT: it writes each row down twice, at half as much again. An id that another process claims at this very moment
# is waited for all the same, and is then a unique violation: the batch comes again in halves, and finds it there. OFFSET 0
# keeps it a look by key for each, however few claims the planner believes in.
CLAIM = """
WITH new AS (
    INSERT INTO inbox (id, hash) SELECT * FROM unnest(%s::uuid[], %s::uuid[]) AS u (id, hash)
    WHERE NOT EXISTS (SELECT FROM inbox WHERE inbox.id = u.id OFFSET 0) RETURNING 1)
SELECT count(*) FROM new
"""

Claimed = tuple[list[Incoming], list[Incoming]]


def claim(conn: Connection, incomings: Sequence[Incoming]) -> Callable[[], Claimed]:
    """Claim the ids, sorted; read later: (those that are new, in order; repeats). The same id with another hash is new
    and dead."""
    first: dict[str, Incoming] = {}
    repeats: list[Incoming] = []
    fresh = []
    for incoming in incomings:
        before = first.setdefault(incoming.claim, incoming)
        if before is incoming:
            fresh.append(incoming)
        elif before.hash == incoming.hash:
            repeats.append(incoming)
        else:
            _mark_reused(incoming)
            again = first.setdefault(incoming.claim, incoming)
            (fresh if again is incoming else repeats).append(incoming)
    inserted = _insert_claims(conn, fresh)

    def answer() -> Claimed:
        known = inserted()
        return _separate_repeats(conn, fresh, repeats, known) if known else (fresh, repeats)

    return answer


def _separate_repeats(
    conn: Connection, fresh: list[Incoming], repeats: list[Incoming], known: Mapping[str, str]
) -> Claimed:
    """Some ids were there already: with the same hash a repeat, with another a dead letter."""
    reused = [i for i in fresh if i.claim in known and known[i.claim] != i.hash]
    repeats = repeats + [i for i in fresh if known.get(i.claim) == i.hash]
    for incoming in reused:
        _mark_reused(incoming)
    known_too = _insert_claims(conn, reused)()
    repeats += [i for i in reused if i.claim in known_too]
    gone = {id(i) for i in repeats}
    return [i for i in fresh if id(i) not in gone], repeats


def _mark_reused(incoming: Incoming) -> None:
    """An id that came before with other contents: a dead letter under a claim of its own. On a door it holds nothing."""
    incoming.claim = digest(incoming.claim.encode(), incoming.hash.encode())
    refuse_reused(incoming)


def refuse_reused(incoming: Incoming) -> None:
    incoming.failure = Failure("id_reused", "this id came before with other contents", ours=not incoming.door)
    if incoming.door:
        incoming.event = None


def _insert_claims(conn: Connection, incomings: Sequence[Incoming]) -> Callable[[], dict[str, str]]:
    """Insert; read later: id → stored hash of those that were there already (usually none, at no further cost)."""
    if not incomings:
        return dict
    pairs = sorted((i.claim, i.hash) for i in incomings)
    ids = uuid_array([claim_id for claim_id, _ in pairs])
    asked = conn.execute(CLAIM, [ids, uuid_array([content for _, content in pairs])])

    def known() -> dict[str, str]:
        if asked.fetchone() == (len(pairs),):
            return {}
        rows = conn.execute(
            "SELECT id::text, hash::text FROM inbox WHERE id = ANY(%s::uuid[]) AND xmin <> pg_current_xact_id()::xid",
            [ids],
        )
        return dict(rows.fetchall())

    return known


def trim(conn: Connection) -> int:
    """Delete a slice of what is older than DAYS: beyond it the effect's own primary key makes a repeat a duplicate.
    → how many claims went

    A letter's claim stays for as long as the letter: what is dead or was given up has no effect that would know a repeat.
    """
    return conn.execute(TRIM, [DAYS, TRIM_ROWS]).rowcount
