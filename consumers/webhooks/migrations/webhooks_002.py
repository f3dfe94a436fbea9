"""Deliveries that ended long ago are deleted, with their attempts."""

from alembic import op

revision = "webhooks_002"
down_revision = "webhooks_001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX deliveries_ended ON deliveries (ended_at) WHERE ended_at IS NOT NULL")
    op.execute("GRANT DELETE ON deliveries, attempts TO tally_webhooks")


def downgrade() -> None:
    op.execute("REVOKE DELETE ON deliveries, attempts FROM tally_webhooks")
    op.execute("DROP INDEX deliveries_ended")
