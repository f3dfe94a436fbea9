"""What PSPs told us, as they told it."""

from alembic import op

revision = "doors_notifications"
down_revision = "doors_webhook_endpoints"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE notifications (
    psp text COLLATE "C" NOT NULL,
    notification_id text COLLATE "C" NOT NULL,   -- the PSP's
    contents text COLLATE "C" NOT NULL,          -- hash of the body: the same id with another body is kept too
    body bytea NOT NULL,
    event_id text,                               -- NULL: of a kind that we do not read
    received_at timestamptz NOT NULL,
    PRIMARY KEY (psp, notification_id, contents)
);
CREATE VIEW notification_view AS SELECT psp, notification_id, event_id, received_at FROM notifications;
"""


def upgrade() -> None:
    op.execute(TABLE)
    op.execute("REVOKE UPDATE, DELETE ON notifications FROM tally_doors")
    op.execute("GRANT SELECT ON notification_view TO tally_doors_read")


def downgrade() -> None:
    op.execute("DROP VIEW notification_view")
    op.execute("DROP TABLE notifications")
