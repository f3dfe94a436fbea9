"""What PSPs told us long ago is deleted."""

from alembic import op

revision = "doors_trim"
down_revision = "doors_notifications"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX notifications_received ON notifications (received_at)")
    op.execute("GRANT DELETE ON notifications TO tally_doors")


def downgrade() -> None:
    op.execute("REVOKE DELETE ON notifications FROM tally_doors")
    op.execute("DROP INDEX notifications_received")
