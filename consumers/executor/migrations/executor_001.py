"""Attempts, and what others may read of attempts and calls."""

from alembic import op

revision = "executor_001"
down_revision = None
branch_labels = ("executor",)
depends_on = "runtime_001"  # call_view reads its calls

ATTEMPTS = """
CREATE TABLE attempts (
    payment_order_id text COLLATE "C" PRIMARY KEY,
    attempt_no integer NOT NULL,
    call_id text COLLATE "C" NOT NULL,
    psp text NOT NULL,
    state text NOT NULL CHECK (state IN ('calling', 'unknown', 'unresolved', 'captured', 'declined')),
    cause_event_id text NOT NULL,
    outcome_event_id text,
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    revision integer NOT NULL,
    refusals integer NOT NULL,
    asks integer NOT NULL,
    scheme text,
    psp_reference text,
    code text,
    placed bytea NOT NULL,
    checkout_id text NOT NULL,
    gross_minor bigint NOT NULL,
    currency text NOT NULL,
    CHECK ((state = 'captured') <= (psp_reference IS NOT NULL)),
    CHECK ((state IN ('captured', 'declined', 'unresolved')) = (outcome_event_id IS NOT NULL))
) WITH (fillfactor = 80)
"""

ATTEMPT_VIEW = """
CREATE VIEW attempt_view AS
SELECT payment_order_id, checkout_id, attempt_no, call_id, psp, state, scheme, psp_reference, code, gross_minor,
       currency, cause_event_id, outcome_event_id, created_at, changed_at, revision
FROM attempts
"""

# No request: it holds the token. No reply body either; it is the caller's own words.
CALL_VIEW = """
CREATE VIEW call_view AS
SELECT id AS call_id, {order} AS payment_order_id, psp, state, act, act_no, send_no, ever_unknown, outcome, deadline,
       cause_event_id, created_at, first_sent_at, acted_at, due_at, lease_until
FROM calls
"""


def _order_column() -> str:
    """The runtime's revisions may all come before this one; runtime_007 renames the column."""
    has_subject = (
        "SELECT 1 FROM information_schema.columns WHERE table_schema = current_schema AND table_name = 'calls'"
    )
    found = op.get_bind().exec_driver_sql(has_subject + " AND column_name = 'subject'").first()
    return "subject" if found else "payment_order_id"


def upgrade() -> None:
    op.execute(ATTEMPTS)
    op.execute("REVOKE DELETE ON attempts FROM tally_executor")
    op.execute(ATTEMPT_VIEW)
    op.execute(CALL_VIEW.format(order=_order_column()))
    op.execute("GRANT SELECT ON attempt_view, call_view TO tally_executor_read")


def downgrade() -> None:
    op.execute("DROP VIEW call_view, attempt_view")
    op.execute("DROP TABLE attempts")
