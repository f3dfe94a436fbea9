"""The calls behind an order, and a pay-out's, by what they are about; an automatic capture has none, and pays nothing for it."""

from alembic import op

revision = "executor_011"
down_revision = "executor_010"
branch_labels = None
depends_on = None

INDEX = "CREATE INDEX calls_by_subject ON calls (subject) WHERE kind <> 'charge'"
VIEW = """
CREATE {replaced} VIEW call_view AS
SELECT id AS call_id, CASE WHEN kind NOT IN ('payout', 'payout_check') THEN subject END AS payment_order_id, psp, state,
       act, act_no, send_no, ever_unknown, outcome, deadline, cause_event_id, created_at, first_sent_at, acted_at, due_at,
       lease_until, kind, traceparent, CASE WHEN kind IN ('payout', 'payout_check') THEN subject END AS payout_id{more}
FROM calls
"""


def upgrade() -> None:
    op.execute(INDEX)
    op.execute(VIEW.format(replaced="OR REPLACE", more=", subject"))


def downgrade() -> None:
    op.execute("DROP VIEW call_view")
    op.execute(VIEW.format(replaced="", more=""))
    op.execute("GRANT SELECT ON call_view TO tally_executor_read")
    op.execute("DROP INDEX calls_by_subject")
