"""Refused captures, voids and refunds are listed by their owner, newest first."""

from alembic import op

revision = "payments_011"
down_revision = "payments_010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX operation_refusals_by_owner ON operation_refusals (owner, kind, at, operation_id)")


def downgrade() -> None:
    op.execute("DROP INDEX operation_refusals_by_owner")
