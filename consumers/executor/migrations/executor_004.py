"""Whoever looks a call up sees its trace."""

from alembic import op

revision = "executor_004"
down_revision = "executor_003"
branch_labels = None
depends_on = "runtime_009"  # the trace on its calls

CALL_VIEW = """
CREATE OR REPLACE VIEW call_view AS
SELECT id AS call_id, subject AS payment_order_id, psp, state, act, act_no, send_no, ever_unknown, outcome, deadline,
       cause_event_id, created_at, first_sent_at, acted_at, due_at, lease_until, kind, traceparent
FROM calls
"""


def upgrade() -> None:
    op.execute(CALL_VIEW)


def downgrade() -> None:
    op.execute("DROP VIEW call_view")
    op.execute(
        "CREATE VIEW call_view AS SELECT id AS call_id, subject AS payment_order_id, psp, state, act, act_no, send_no,"
        " ever_unknown, outcome, deadline, cause_event_id, created_at, first_sent_at, acted_at, due_at, lease_until, kind"
        " FROM calls"
    )
    op.execute("GRANT SELECT ON call_view TO tally_executor_read")
