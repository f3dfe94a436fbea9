"""Journals of pay-outs: they are about no checkout."""

from alembic import op

revision = "ledger_004"
down_revision = "ledger_003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE journals ALTER checkout_id DROP NOT NULL")


def downgrade() -> None:
    """Journals are append-only: those of pay-outs stay."""
