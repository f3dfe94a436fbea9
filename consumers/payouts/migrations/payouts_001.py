"""Pay-outs: the facts of each, what risk and persons said, its releases and its history; and the sellers' terms."""

from alembic import op

revision = "payouts_001"
down_revision = None
branch_labels = ("payouts",)
depends_on = None

TABLES = """
CREATE TABLE sellers (
    seller_account text PRIMARY KEY,
    owner text NOT NULL,
    revision int NOT NULL,
    state text NOT NULL CHECK (state IN ('active', 'frozen', 'closed')),
    said bytea NOT NULL,
    event_id uuid NOT NULL,
    heard_at timestamptz NOT NULL
);

-- Amounts are minor units. status, code and changed_at are copies for readers: they follow from the facts.
CREATE TABLE payouts (
    payout_id text PRIMARY KEY,
    owner text NOT NULL,
    seller_account text NOT NULL,
    currency text NOT NULL,
    asked bigint CHECK (asked > 0),  -- NULL: all
    minimum bigint,
    keep bigint,
    destination_type text NOT NULL,
    destination_country text NOT NULL,
    destination_masked text NOT NULL,
    destination_fingerprint text NOT NULL,
    destination_sealed text NOT NULL,
    contents text NOT NULL,
    description text,
    requested_by text NOT NULL,
    destination_changed_by text,
    received_at timestamptz NOT NULL,
    event_id uuid NOT NULL,
    screen_no int NOT NULL,
    risk text CHECK (risk IN ('cleared', 'refused', 'held')),
    cleared_at timestamptz,
    refusal text,
    reserve text NOT NULL CHECK (reserve IN ('none', 'asked', 'reserved', 'refused')),
    amount bigint CHECK (amount > 0),
    reserved_at timestamptz,
    approvals_needed smallint NOT NULL CHECK (approvals_needed >= 0),
    approved_by json NOT NULL,
    stop text CHECK (stop IN ('cancelled', 'rejected')),
    stopped_by text,
    release_no int NOT NULL CHECK (release_no >= 0),
    released bool NOT NULL,
    withdrawn int NOT NULL CHECK (withdrawn <= release_no),
    doubt text CHECK (doubt IN ('unknown', 'unresolved')),
    ended text CHECK (ended IN
        ('refused', 'rejected', 'cancelled', 'expired', 'submitted', 'paid', 'failed', 'returned')),
    why text,
    provider_reference text,
    status text NOT NULL,
    code text,
    changed_at timestamptz NOT NULL,
    version int NOT NULL,
    sha256 text,
    CHECK ((amount IS NULL) = (sha256 IS NULL)),
    CHECK (NOT released OR amount IS NOT NULL)
) WITH (fillfactor = 50);
CREATE INDEX payouts_unended ON payouts (seller_account) WHERE ended IS NULL;
CREATE INDEX payouts_open ON payouts (status, changed_at) WHERE ended IS NULL;
CREATE INDEX payouts_by_owner ON payouts (owner, received_at, payout_id);
CREATE INDEX payouts_by_seller ON payouts (seller_account, received_at, payout_id);
CREATE INDEX payouts_by_status ON payouts (status, received_at, payout_id);
CREATE INDEX payouts_by_time ON payouts (received_at, payout_id);

CREATE TABLE history (
    payout_id text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    status text NOT NULL,
    code text,
    at timestamptz NOT NULL,
    event_id uuid NOT NULL,
    PRIMARY KEY (payout_id, id)
);

CREATE TABLE screenings (
    event_id uuid PRIMARY KEY,
    payout_id text NOT NULL,
    screen_no int NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('cleared', 'refused', 'held')),
    rule text NOT NULL,
    list_version text NOT NULL,
    score smallint NOT NULL,
    actor text NOT NULL,
    decided_at timestamptz NOT NULL,
    counts bool NOT NULL
);
CREATE INDEX screenings_by_payout ON screenings (payout_id, screen_no, decided_at);

CREATE TABLE approvals (
    event_id uuid PRIMARY KEY,
    payout_id text NOT NULL,
    approver text NOT NULL,
    decision text NOT NULL CHECK (decision IN ('approved', 'rejected')),
    sha256 text NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL,
    why_not text
);
CREATE INDEX approvals_by_payout ON approvals (payout_id, at);

CREATE TABLE releases (
    payout_id text NOT NULL,
    release_no int NOT NULL CHECK (release_no > 0),
    provider text NOT NULL,
    bank_account text NOT NULL,
    released_at timestamptz NOT NULL,
    deadline timestamptz NOT NULL,
    cleared_at timestamptz NOT NULL,
    fresh_until timestamptz NOT NULL,
    approvals_needed smallint NOT NULL,
    approvals smallint NOT NULL,
    event_id uuid NOT NULL,
    outcome text CHECK (outcome IN ('not_sent', 'unknown', 'unresolved', 'submitted', 'paid', 'failed', 'returned')),
    code text,
    outcome_at timestamptz,
    PRIMARY KEY (payout_id, release_no),
    CHECK (approvals >= approvals_needed),
    CHECK (released_at <= fresh_until)
) WITH (fillfactor = 70);

CREATE TABLE refusals (
    event_id uuid PRIMARY KEY,
    payout_id text NOT NULL,
    owner text NOT NULL,
    code text NOT NULL,
    detail text NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX refusals_by_id ON refusals (owner, payout_id, at);

REVOKE DELETE ON sellers, payouts, releases FROM tally_payouts;
REVOKE UPDATE, DELETE ON history, screenings, approvals, refusals FROM tally_payouts;
REVOKE UPDATE ON releases FROM tally_payouts;
GRANT UPDATE (outcome, code, outcome_at) ON releases TO tally_payouts;
"""

VIEWS = """
CREATE VIEW payout_view AS
SELECT payout_id, owner, seller_account, status, code AS detail, currency, coalesce(amount, asked) AS amount,
       asked IS NULL AS is_all, minimum, keep, destination_type, destination_country, destination_masked,
       destination_fingerprint, sha256, description, requested_by, destination_changed_by, received_at, changed_at,
       screen_no, risk, cleared_at, reserve, reserved_at, approvals_needed,
       json_array_length(approved_by) AS approvals_given, stop, stopped_by, release_no, released, withdrawn, doubt, ended,
       provider_reference, version, event_id
  FROM payouts;
CREATE VIEW history_view AS SELECT payout_id, id, status, code AS detail, at, event_id FROM history;
CREATE VIEW screening_view AS
SELECT payout_id, screen_no, outcome, rule, list_version, score, actor, decided_at, counts, event_id FROM screenings;
CREATE VIEW approval_view AS
SELECT payout_id, approver, decision, sha256, reason, at, why_not, event_id FROM approvals;
CREATE VIEW release_view AS
SELECT payout_id, release_no, provider, bank_account, released_at, deadline, cleared_at, fresh_until, approvals_needed,
       approvals, outcome, code, outcome_at, event_id
  FROM releases;
CREATE VIEW refusal_view AS SELECT payout_id, owner, code, detail, at, event_id FROM refusals;
CREATE VIEW seller_view AS
SELECT seller_account, owner, revision, state, event_id, heard_at FROM sellers;

GRANT SELECT ON payout_view, history_view, screening_view, approval_view, release_view, refusal_view, seller_view
    TO tally_payouts_read;
"""

GONE = """
DROP VIEW payout_view, history_view, screening_view, approval_view, release_view, refusal_view, seller_view;
DROP TABLE refusals, releases, approvals, screenings, history, payouts, sellers;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(VIEWS)


def downgrade() -> None:
    op.execute(GONE)
