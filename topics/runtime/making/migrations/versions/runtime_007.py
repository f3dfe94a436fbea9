"""Calls know what they are about and which operation they are: a charge is one of several kinds."""

from alembic import op

revision = "runtime_007"
down_revision = "runtime_006"
branch_labels = None
depends_on = None

# A view keeps the name that it gave a column, so readers of `call_view` see no difference.
CALLS = """
ALTER TABLE calls RENAME payment_order_id TO subject;
ALTER TABLE calls ADD kind text NOT NULL DEFAULT 'charge'
    CHECK (kind IN ('charge', 'capture', 'void', 'refund', 'check'));
"""


def upgrade() -> None:
    op.execute(CALLS)


def downgrade() -> None:
    op.execute("ALTER TABLE calls DROP kind")
    op.execute("ALTER TABLE calls RENAME subject TO payment_order_id")
