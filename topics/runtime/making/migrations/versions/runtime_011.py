"""How many partitions a topic had when it was first seen: a number that must not change."""

from alembic import context, op

revision = "runtime_011"
down_revision = "runtime_010"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE topics (
    topic text NOT NULL,
    topic_id text NOT NULL,                -- Kafka's: a topic that is made anew has another
    partitions integer NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, topic_id)
)
"""


def upgrade() -> None:
    room = context.config.attributes["schema"]
    op.execute(TABLE)
    op.execute(f"GRANT SELECT ON topics TO tally_{room}_read, tally_ops")


def downgrade() -> None:
    op.execute("DROP TABLE topics")
