"""The runtime's tables, the same in every room: positions, inbox, parked, outbox, calls, leases, stops, audit."""

from alembic import context, op

revision = "runtime_001"
down_revision = None
branch_labels = ("runtime",)
depends_on = None

TABLES = """
CREATE TABLE positions (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    messages bigint NOT NULL DEFAULT 0,    -- handled here, drops included
    duplicates bigint NOT NULL DEFAULT 0,  -- of these, dropped by the inbox
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

CREATE TABLE inbox (
    id uuid PRIMARY KEY,
    hash uuid NOT NULL,                    -- of key and value
    claimed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX inbox_claimed_at ON inbox USING brin (claimed_at);

CREATE TABLE parked (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    letter_id uuid NOT NULL UNIQUE,
    topic text NOT NULL,
    partition integer NOT NULL,
    kafka_offset bigint NOT NULL,
    key bytea,
    value bytea,
    headers bytea NOT NULL,                -- JSON pairs, values latin-1
    timestamp_ms bigint NOT NULL,
    event_id text,
    hash uuid NOT NULL,
    holds boolean NOT NULL,                -- later messages of (topic, key) wait behind it
    state text NOT NULL CHECK (state IN ('parked', 'dead', 'done', 'discarded')),
    code text,
    error text,
    stack text,
    attempts integer NOT NULL DEFAULT 0,   -- failed tries, replays included
    rung integer NOT NULL DEFAULT 0,       -- where on the ladder
    replays integer NOT NULL DEFAULT 0,
    fault_at bigint,                       -- the room's message count when this was counted as our own fault
    due_at timestamptz NOT NULL,
    parked_at timestamptz NOT NULL,
    first_failed_at timestamptz,
    last_failed_at timestamptz,
    ended_at timestamptz
);
CREATE INDEX parked_held ON parked (topic, key, seq) WHERE holds AND state IN ('parked', 'dead');
CREATE INDEX parked_due ON parked (due_at) WHERE state = 'parked';
CREATE INDEX parked_hash ON parked (hash);
CREATE INDEX parked_faults ON parked (fault_at) WHERE fault_at IS NOT NULL;

CREATE SEQUENCE outbox_block;              -- one per batch: a row's id is block * 10000 + place
CREATE TABLE outbox (
    id bigint PRIMARY KEY,
    topic text NOT NULL,
    key bytea,
    headers bytea NOT NULL,
    value bytea,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX outbox_key ON outbox (topic, key, id);

CREATE TABLE latest_outbox (
    topic text NOT NULL,
    key text NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (topic, key)
) WITH (fillfactor = 50);

CREATE TABLE leases (
    name text PRIMARY KEY,
    holder text NOT NULL,
    until timestamptz NOT NULL
);

CREATE TABLE stops (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    code text NOT NULL,
    reason text NOT NULL,
    messages bigint NOT NULL,              -- the room's message count at the stop, later at the lift
    lifted_at timestamptz,
    lifted_by text
);
CREATE UNIQUE INDEX stops_open ON stops ((true)) WHERE lifted_at IS NULL;

CREATE TABLE ops_audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    reason text NOT NULL,
    filter jsonb NOT NULL,
    counts jsonb NOT NULL
);
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ops_audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

CALLS = """
CREATE TABLE calls (
    id text COLLATE "C" PRIMARY KEY CHECK (length(id) = 32),
    payment_order_id text NOT NULL,
    psp text NOT NULL,
    request bytea NOT NULL,
    deadline timestamptz NOT NULL,
    cause_event_id text NOT NULL,
    created_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'due' CHECK (state IN ('due', 'sending', 'answered', 'ended')),
    act text NOT NULL DEFAULT 'send' CHECK (act IN ('send', 'ask')),
    act_no integer NOT NULL DEFAULT 0,
    send_no integer NOT NULL DEFAULT 0,
    ever_unknown boolean NOT NULL DEFAULT false,
    first_sent_at timestamptz,
    sent_until timestamptz,
    acted_at timestamptz,
    due_at timestamptz NOT NULL,
    lease_until timestamptz,
    leased_by text,
    reply bytea,
    outcome text
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX calls_due ON calls (psp, due_at) WHERE state = 'due';
CREATE INDEX calls_leased ON calls (lease_until) WHERE state IN ('sending', 'answered');
"""

# Queue-like tables live on few pages that change all the time: vacuum them early and without pause.
TUNING = (
    "ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.0,"
    " autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0)"
)


def upgrade() -> None:
    room = context.config.attributes["schema"]
    op.execute(TABLES)
    op.execute(CALLS)
    for table in ("outbox", "latest_outbox", "positions"):
        op.execute(TUNING.format(table=table))
    op.execute(f"REVOKE UPDATE, DELETE, INSERT ON ops_audit FROM tally_{room}")
    for table in ("positions", "inbox", "parked", "outbox", "latest_outbox", "stops", "ops_audit"):
        op.execute(f"GRANT SELECT ON {table} TO tally_{room}_read, tally_ops")
    op.execute("GRANT UPDATE ON parked, stops TO tally_ops")
    op.execute("GRANT INSERT ON ops_audit TO tally_ops")
