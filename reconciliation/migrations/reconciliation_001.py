"""Reconciliation: files and their lines, tallies of what we expect and what they say, settlements, and breaks."""

from alembic import op

revision = "reconciliation_001"
down_revision = None
branch_labels = ("reconciliation",)
depends_on = None

# A file's state: received → reading (leased) → gated → folding → folded; quarantined, held, discarded, superseded.
# Lease times are the machine's; all others are business time.
FILES = """
CREATE TABLE files (
    file_no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    file_id text NOT NULL,  -- sha256 of its bytes
    upload_id text NOT NULL,
    name text NOT NULL,
    size bigint NOT NULL,
    stored_by text,
    received_at timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('received', 'reading', 'quarantined', 'gated', 'folding', 'held', 'folded',
        'superseded', 'discarded')),
    why text,  -- why it is held: a code
    reader text,  -- "<name>:<version>"
    mode text CHECK (mode IN ('replace', 'union')),
    identity text,
    version text,
    sequence bigint,
    first_day date,
    last_day date,
    chunks integer,
    chunks_said integer NOT NULL DEFAULT 0,
    lines bigint,
    ended boolean NOT NULL DEFAULT false,  -- its close has come
    control jsonb,
    refusal jsonb,
    released_by text,
    release_reason text,
    lease_holder text,
    lease_until timestamptz,
    changed_at timestamptz NOT NULL,
    UNIQUE (source, file_id)
) WITH (fillfactor = 50);
CREATE INDEX files_open ON files (state, file_no) WHERE state NOT IN ('folded', 'superseded', 'discarded');
CREATE INDEX files_by_identity ON files (source, identity, file_no);

-- The columns of up to 500 lines, compressed: zlib of the JSON of LineColumns. Evidence is the file's bytes between
-- first_byte and last_byte.
CREATE TABLE line_chunks (
    file_no integer NOT NULL,
    chunk integer NOT NULL,
    reader text NOT NULL,
    psp text NOT NULL,
    first_line bigint NOT NULL,
    first_byte bigint NOT NULL,
    last_byte bigint NOT NULL,
    settlements text[] NOT NULL,
    currencies text[] NOT NULL,
    columns bytea NOT NULL,
    PRIMARY KEY (file_no, chunk)
);
ALTER TABLE line_chunks ALTER columns SET STORAGE EXTERNAL;
"""

# Amounts are minor units; + is what the PSP or the bank owes us more. No column that folding changes has an index, so
# that folding a line is one HOT update.
TALLIES = """
CREATE TABLE tallies (
    key uuid NOT NULL,
    kind text NOT NULL,  -- one letter: reconciliation.formats.shape.KINDS
    currency text NOT NULL,
    psp text NOT NULL,  -- or the bank account
    expected bigint NOT NULL DEFAULT 0,
    facts bigint[] NOT NULL DEFAULT '{}',  -- digests of the events that expect it, each counted once
    fee_expected bigint,  -- NULL: not checked
    fee_slack bigint NOT NULL DEFAULT 0,
    due date,  -- the latest of its facts, by the source's calendar
    outcome text,  -- the executor's word where nothing is expected: declined, voided, expired
    payment_order_id text,  -- or the pay-out's id
    seller text,
    settled bigint NOT NULL DEFAULT 0,
    fee bigint NOT NULL DEFAULT 0,
    digests bigint[] NOT NULL DEFAULT '{}',  -- of its lines, each counted once
    lines bigint[] NOT NULL DEFAULT '{}',  -- four for each digest: gross, fee, settlement_no, file_no
    broken boolean NOT NULL DEFAULT false,  -- a break is open for it: whatever comes, it is judged again
    made_at timestamptz NOT NULL,
    PRIMARY KEY (key, kind, currency, psp)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX tallies_due ON tallies USING brin (due) WITH (pages_per_range = 16);

-- Tallies to be judged: those that are not simply equal after a fold (file_no), or after a fact or at a due day (0).
CREATE TABLE odd (
    file_no integer NOT NULL,
    key uuid NOT NULL,
    kind text NOT NULL,
    currency text NOT NULL,
    psp text NOT NULL,
    look_at timestamptz NOT NULL,
    PRIMARY KEY (file_no, key, kind, currency, psp)
);

-- Bank entries that no fact explains, and expectations without an entry: those of one amount may be paired.
CREATE TABLE unmatched (
    psp text NOT NULL,  -- the bank account
    currency text NOT NULL,
    amount bigint NOT NULL,
    key uuid NOT NULL,
    is_line boolean NOT NULL,
    counterparty text NOT NULL,
    day date NOT NULL,
    pair uuid,  -- the key of the other half
    PRIMARY KEY (psp, currency, key)
);
CREATE INDEX unmatched_by_amount ON unmatched (psp, currency, amount);

-- Until when everything that the executor has published is heard. One row; written by a side task.
CREATE TABLE heard (one boolean PRIMARY KEY CHECK (one), until timestamptz NOT NULL);

-- Lines whose digest another file had brought, and has counted. One of them takes its place when that file is withdrawn.
CREATE TABLE repeated_lines (
    key uuid NOT NULL,
    kind text NOT NULL,
    currency text NOT NULL,
    psp text NOT NULL,
    digest bigint NOT NULL,
    gross bigint NOT NULL,
    fee bigint NOT NULL,
    charged bigint NOT NULL,
    net bigint NOT NULL,
    settlement_no integer NOT NULL,
    file_no integer NOT NULL,
    counted_file_no integer NOT NULL,
    PRIMARY KEY (digest, file_no)
);
CREATE INDEX repeated_lines_by_settlement ON repeated_lines (settlement_no);
"""

SETTLEMENTS = """
-- What a PSP totals in one currency, or a bank statement.
CREATE TABLE settlements (
    settlement_no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    settlement text NOT NULL,  -- the PSP's reference, or the statement's
    currency text NOT NULL,  -- of what it pays out
    psp text NOT NULL,  -- or the bank account
    revision integer NOT NULL DEFAULT 0,
    booked jsonb NOT NULL DEFAULT '{}',  -- "role currency" → minor units, + debit
    ties boolean,  -- NULL: not settled yet
    to_settle boolean NOT NULL DEFAULT false,  -- its sums have changed since it was settled
    changed_at timestamptz NOT NULL,
    UNIQUE (source, settlement, currency)
) WITH (fillfactor = 50);
CREATE INDEX settlements_to_settle ON settlements (settlement_no) WHERE to_settle;

-- What its lines add up to. Changed only by those who hold the lock of its settlement.
CREATE TABLE settlement_sums (
    settlement_no integer NOT NULL,
    kind text NOT NULL,
    gross_currency text NOT NULL,
    lines bigint NOT NULL,
    gross bigint NOT NULL,
    unknown bigint NOT NULL,  -- as much of gross as no fact explains
    fee bigint NOT NULL,
    net bigint NOT NULL,
    PRIMARY KEY (settlement_no, kind, gross_currency)
) WITH (fillfactor = 50);

-- Which files have a say in it, and what each claims. `paid` NULL: this file has lines of it, and claims nothing.
CREATE TABLE settlement_claims (
    settlement_no integer NOT NULL,
    file_no integer NOT NULL,
    paid bigint,  -- what the PSP pays out, or the closing balance
    opening bigint,  -- of a statement
    day date,
    PRIMARY KEY (settlement_no, file_no)
);
CREATE INDEX settlement_claims_by_file ON settlement_claims (file_no);
"""

BREAKS = """
CREATE TABLE breaks (
    break_id uuid PRIMARY KEY,  -- of (code, subject)
    code text NOT NULL,
    subject text NOT NULL,
    class text NOT NULL CHECK (class IN ('A', 'B', 'C')),
    state text NOT NULL CHECK (state IN ('open', 'closed')),
    source text NOT NULL,
    psp text NOT NULL,
    currency text,
    amount bigint NOT NULL,  -- of its open items, each without its sign
    items integer NOT NULL,  -- open
    detail jsonb NOT NULL,
    opened_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    revision integer NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX breaks_open ON breaks (code, opened_at) WHERE state = 'open';

-- What a break is about: tallies ("<psp>|<kind>|<key>|<currency>"), lines, settlements, files. An item has one open break.
CREATE TABLE break_items (
    item text NOT NULL,
    break_id uuid NOT NULL,
    amount bigint NOT NULL,
    currency text,
    detail jsonb NOT NULL,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    PRIMARY KEY (item, break_id)
);
CREATE INDEX break_items_by_break ON break_items (break_id, item);

CREATE TABLE break_actions (
    break_id uuid NOT NULL,
    revision integer NOT NULL,
    action text NOT NULL,  -- opened, changed, closed, reopened
    actor text NOT NULL,
    at timestamptz NOT NULL,
    detail jsonb NOT NULL,
    PRIMARY KEY (break_id, revision)
);

REVOKE UPDATE, DELETE ON break_actions FROM tally_reconciliation;
REVOKE DELETE ON files, settlements, breaks, break_items FROM tally_reconciliation;
"""

VIEWS = """
CREATE VIEW file_view AS
SELECT file_no, source, file_id, name, size, stored_by, received_at, state, why, reader, mode, identity, version, sequence,
       first_day, last_day, chunks, chunks_said, lines, ended, control, refusal, released_by, release_reason, changed_at
  FROM files;

CREATE VIEW line_chunk_view AS
SELECT file_no, chunk, reader, psp, first_line, first_byte, last_byte, settlements, currencies, columns FROM line_chunks;

CREATE VIEW tally_view AS
SELECT psp, kind, key::text AS key, currency, expected, settled, expected - settled AS open, fee_expected, fee_slack, fee, due,
       outcome, payment_order_id, seller, cardinality(facts) AS facts, cardinality(digests) AS lines, made_at
  FROM tallies;

-- A row for each line of a tally.
CREATE VIEW tally_line_view AS
SELECT t.psp, t.kind, t.key::text AS key, t.currency, cardinality(t.facts) > 0 AS known, d.digest,
       t.lines[4 * d.place - 3] AS gross, t.lines[4 * d.place - 2] AS fee,
       t.lines[4 * d.place - 1]::integer AS settlement_no, t.lines[4 * d.place]::integer AS file_no
  FROM tallies t CROSS JOIN LATERAL unnest(t.digests) WITH ORDINALITY AS d (digest, place);

CREATE VIEW unmatched_view AS
SELECT psp, currency, amount, key::text AS key, is_line, counterparty, day, pair::text AS pair FROM unmatched;

CREATE VIEW settlement_view AS
SELECT settlement_no, source, settlement, currency, psp, revision, booked, ties, to_settle, changed_at FROM settlements;

CREATE VIEW settlement_sum_view AS
SELECT settlement_no, kind, gross_currency, lines, gross, unknown, fee, net FROM settlement_sums;

CREATE VIEW settlement_claim_view AS
SELECT settlement_no, file_no, paid, opening, day FROM settlement_claims;

CREATE VIEW repeated_line_view AS
SELECT psp, kind, key::text AS key, currency, digest, gross, settlement_no, file_no, counted_file_no FROM repeated_lines;

CREATE VIEW break_view AS
SELECT break_id::text AS break_id, code, subject, class, state, source, psp, currency, amount, items, detail, opened_at,
       changed_at, revision
  FROM breaks;

CREATE VIEW break_item_view AS
SELECT item, break_id::text AS break_id, amount, currency, detail, opened_at, closed_at FROM break_items;

CREATE VIEW break_action_view AS
SELECT break_id::text AS break_id, revision, action, actor, at, detail FROM break_actions;

GRANT SELECT ON file_view, line_chunk_view, tally_view, tally_line_view, unmatched_view, settlement_view, settlement_sum_view,
    settlement_claim_view, repeated_line_view, break_view, break_item_view, break_action_view
    TO tally_reconciliation_read;
"""

GONE = """
DROP VIEW file_view, line_chunk_view, tally_view, tally_line_view, unmatched_view, settlement_view, settlement_sum_view,
    settlement_claim_view, repeated_line_view, break_view, break_item_view, break_action_view;
DROP TABLE break_actions, break_items, breaks, settlement_claims, settlement_sums, settlements, repeated_lines, heard,
    unmatched, odd, tallies, line_chunks, files;
"""


def upgrade() -> None:
    for part in (FILES, TALLIES, SETTLEMENTS, BREAKS, VIEWS):
        op.execute(part)


def downgrade() -> None:
    op.execute(GONE)
