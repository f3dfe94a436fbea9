"""Attempts that are pending at a PSP; notifications that came before their call."""

from alembic import op

revision = "executor_002"
down_revision = "executor_001"
branch_labels = None
depends_on = None

PENDING = """
ALTER TABLE attempts DROP CONSTRAINT attempts_state_check, ADD CONSTRAINT attempts_state_check
    CHECK (state IN ('calling', 'unknown', 'pending', 'unresolved', 'captured', 'declined'))
"""

NOTIFICATIONS = """
CREATE TABLE notifications (
    event_id text COLLATE "C" PRIMARY KEY,
    psp text NOT NULL,
    notification_id text NOT NULL,
    reference text COLLATE "C" NOT NULL,     -- a call that was not there when it came
    value bytea NOT NULL,
    received_at timestamptz NOT NULL,
    taken_at timestamptz
);
CREATE INDEX notifications_waiting ON notifications (received_at) WHERE taken_at IS NULL;
CREATE VIEW notification_view AS
SELECT event_id, psp, notification_id, reference, received_at, taken_at,
       convert_from(value, 'UTF8')::json #>> '{amount,amount}' AS amount,
       convert_from(value, 'UTF8')::json #>> '{amount,currency}' AS currency
FROM notifications;
GRANT SELECT ON notification_view TO tally_executor_read;
"""

# Those that wait for a person are few and must be found quickly; the columns change with the state anyway.
UNRESOLVED = "CREATE INDEX calls_unresolved ON calls (due_at) WHERE outcome = 'unresolved'"


def upgrade() -> None:
    op.execute(PENDING)
    op.execute(NOTIFICATIONS)
    op.execute("REVOKE DELETE ON notifications FROM tally_executor")
    op.execute(UNRESOLVED)


def downgrade() -> None:
    op.execute("DROP INDEX calls_unresolved")
    op.execute("DROP VIEW notification_view")
    op.execute("DROP TABLE notifications")
