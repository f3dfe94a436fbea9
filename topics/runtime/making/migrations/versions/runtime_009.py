"""A call keeps the trace that led to it: what comes of it goes on in the same one."""

from alembic import op

revision = "runtime_009"
down_revision = "runtime_008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE calls ADD COLUMN traceparent text")


def downgrade() -> None:
    op.execute("ALTER TABLE calls DROP COLUMN traceparent")
