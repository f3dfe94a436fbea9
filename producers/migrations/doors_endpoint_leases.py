"""Endpoints of whoever listens for a while go when nobody renews them."""

from alembic import op

revision = "doors_endpoint_leases"
down_revision = "doors_trim"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE webhook_endpoints ADD COLUMN leased_until timestamptz")  # NULL: kept until it is deleted
    op.execute(
        "CREATE INDEX webhook_endpoints_leased ON webhook_endpoints (leased_until) WHERE leased_until IS NOT NULL"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE webhook_endpoints DROP COLUMN leased_until")
