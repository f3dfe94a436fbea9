"""How many messages came without a position (calls, timers): the limit on faults of our own is a share of all messages."""

from alembic import context, op

revision = "runtime_012"
down_revision = "runtime_011"
branch_labels = None
depends_on = None

# What `positions` says of the rest. Each process adds to a slot of its own choice: one row would be waited for by all.
TABLE = """
CREATE TABLE message_counts (
    slot smallint PRIMARY KEY,
    messages bigint NOT NULL
) WITH (fillfactor = 50)
"""


def upgrade() -> None:
    room = context.config.attributes["schema"]
    op.execute(TABLE)
    op.execute(f"GRANT SELECT ON message_counts TO tally_{room}_read, tally_ops")


def downgrade() -> None:
    op.execute("DROP TABLE message_counts")
