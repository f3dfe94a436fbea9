"""Claims of message ids: a repeat has no effect, and a known id with other contents is a dead letter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from schemas.envelope import digest
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.decode import Failure, Incoming
from topics.runtime.shape.store import uuid_array

DAYS = 60
TRIM_ROWS = 10_000
# now() is constant within the statement, so the index is used; with clock_timestamp() all claims were scanned.
TRIM = """
DELETE FROM inbox WHERE id IN (
    SELECT id FROM inbox WHERE claimed_at < now() - make_interval(days => %s)
    AND NOT EXISTS (SELECT FROM parked WHERE event_id = inbox.id::text)
    LIMIT %s FOR UPDATE SKIP LOCKED)
"""

# Not ON CONFLICT: it logs each row twice and costs 50 % more. An id that another process is claiming is waited for all the
# same, and is then a unique violation: the batch is bisected, and finds the id claimed. OFFSET 0 forces a look-up by key
# for each id, however few claims the planner expects.
CLAIM = """
WITH new AS (
    INSERT INTO inbox (id, hash) SELECT * FROM unnest(%s::uuid[], %s::uuid[]) AS u (id, hash)
    WHERE NOT EXISTS (SELECT FROM inbox WHERE inbox.id = u.id OFFSET 0) RETURNING 1)
SELECT count(*) FROM new
"""

Claimed = tuple[list[Incoming], list[Incoming]]


def claim(conn: Connection, incomings: Sequence[Incoming]) -> Callable[[], Claimed]:
    """Claim the ids, sorted. → reads, later: (new messages in order, repeats). A known id with another hash is new, and
    fails as id_reused."""
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
    """Separate the ids that were claimed before: with the same hash repeats, with another hash dead letters."""
    reused = [i for i in fresh if i.claim in known and known[i.claim] != i.hash]
    repeats = repeats + [i for i in fresh if known.get(i.claim) == i.hash]
    for incoming in reused:
        _mark_reused(incoming)
    known_too = _insert_claims(conn, reused)()
    repeats += [i for i in reused if i.claim in known_too]
    gone = {id(i) for i in repeats}
    return [i for i in fresh if id(i) not in gone], repeats


def _mark_reused(incoming: Incoming) -> None:
    """Fail a message whose id came before with other contents, under a claim of its own. On a door it holds no key."""
    incoming.claim = digest(incoming.claim.encode(), incoming.hash.encode())
    refuse_reused(incoming)


def refuse_reused(incoming: Incoming) -> None:
    incoming.failure = Failure("id_reused", "this id came before with other contents", ours=not incoming.door)
    if incoming.door:
        incoming.event = None


def _insert_claims(conn: Connection, incomings: Sequence[Incoming]) -> Callable[[], dict[str, str]]:
    """Insert claims. → reads, later: id → stored hash of the ids that were claimed before (usually none, then free)."""
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
    """Delete a slice of claims older than DAYS; after that the effect's own primary key recognises a repeat.
    → number of deleted claims

    A letter's claim stays as long as the letter: a letter without an effect has no other key to recognise a repeat by.
    """
    return conn.execute(TRIM, [DAYS, TRIM_ROWS]).rowcount
