"""A position belongs to one topic, by Kafka's id of it; a stop says what it is about, and its lift which way out was taken."""

from alembic import op

revision = "runtime_010"
down_revision = "runtime_009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE positions ADD COLUMN topic_id text")  # NULL: from before ids were kept
    op.execute("ALTER TABLE stops ADD COLUMN about jsonb, ADD COLUMN way text")
    op.execute("GRANT UPDATE (way) ON stops TO tally_ops")
