"""Pay-outs at their providers."""

from alembic import op

revision = "executor_007"
down_revision = "executor_006"
branch_labels = None
depends_on = "runtime_013"

PAYOUTS = """
CREATE TABLE payouts (
    payout_id text COLLATE "C" PRIMARY KEY,
    release_no integer NOT NULL CHECK (release_no >= 1),
    call_id text COLLATE "C" NOT NULL,       -- of that release
    provider text NOT NULL,
    state text NOT NULL CHECK (state IN ('calling', 'unknown', 'unresolved', 'not_sent', 'submitted', 'paid', 'rejected',
                                         'failed', 'returned')),
    turn integer NOT NULL CHECK (turn >= 1),
    withdrawn boolean NOT NULL,              -- the release: it is not sent once more
    ready bytea NOT NULL,                    -- PayoutReady of that release as JSON; its destination is sealed
    seller_account text NOT NULL,
    owner text NOT NULL,
    bank_account text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    returned_minor bigint,                   -- what has come back
    refusals integer NOT NULL,
    asks integer NOT NULL,
    checks integer NOT NULL,
    checking text CHECK (checking IN ('open', 'again', 'unanswered', 'contradicted')),
    check_asks integer NOT NULL,
    code text,
    provider_reference text,
    cause_event_id text NOT NULL,
    outcome_event_id text,
    outcome_place integer,
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    revision integer NOT NULL,
    CHECK ((state IN ('submitted', 'paid', 'returned')) <= (provider_reference IS NOT NULL)),
    CHECK ((state IN ('calling', 'unknown')) = (outcome_event_id IS NULL)),
    CHECK ((outcome_event_id IS NULL) = (outcome_place IS NULL))
)
"""

# A person, or a limit of `tally stuck`, looks at these few.
OPEN = """
CREATE INDEX payouts_open ON payouts (created_at)
    WHERE state IN ('calling', 'unknown', 'unresolved', 'submitted') OR checking = 'unanswered'
"""

VIEWS = """
CREATE VIEW payout_view AS
SELECT payout_id, seller_account, owner, release_no, call_id, provider, bank_account, state, turn, withdrawn,
       amount_minor, currency, returned_minor, code, provider_reference, checks, checking, cause_event_id,
       outcome_event_id, outcome_place, created_at, changed_at, revision
FROM payouts;
GRANT SELECT ON payout_view TO tally_executor_read;
"""

CALL_VIEW = """
CREATE OR REPLACE VIEW call_view AS
SELECT id AS call_id, CASE WHEN kind NOT IN ('payout', 'payout_check') THEN subject END AS payment_order_id, psp, state,
       act, act_no, send_no, ever_unknown, outcome, deadline, cause_event_id, created_at, first_sent_at, acted_at, due_at,
       lease_until, kind, traceparent, CASE WHEN kind IN ('payout', 'payout_check') THEN subject END AS payout_id
FROM calls
"""
CALL_VIEW_BEFORE = """
CREATE VIEW call_view AS
SELECT id AS call_id, subject AS payment_order_id, psp, state, act, act_no, send_no, ever_unknown, outcome, deadline,
       cause_event_id, created_at, first_sent_at, acted_at, due_at, lease_until, kind, traceparent
FROM calls;
GRANT SELECT ON call_view TO tally_executor_read;
"""


def upgrade() -> None:
    op.execute(PAYOUTS)
    op.execute("REVOKE DELETE ON payouts FROM tally_executor")
    op.execute(OPEN)
    op.execute(VIEWS)
    op.execute(CALL_VIEW)


def downgrade() -> None:
    op.execute("DROP VIEW call_view, payout_view")
    op.execute(CALL_VIEW_BEFORE)
    op.execute("DROP TABLE payouts")
