"""The provider that has a destination's account."""

from alembic import op

revision = "payouts_002"
down_revision = "payouts_001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE payouts ADD COLUMN destination_provider text")


def downgrade() -> None:
    op.execute("ALTER TABLE payouts DROP COLUMN destination_provider")
