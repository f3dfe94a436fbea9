"""Movements of what has parts: an order's captures, refunds and disputes move its seller's wallet once each."""

from alembic import op

revision = "wallet_002"
down_revision = "wallet_001"
branch_labels = None
depends_on = None

# Views keep the names that they gave their columns. The new key is made first: a movement is never without one.
MOVEMENTS = """
ALTER TABLE movements RENAME payment_order_id TO subject_id;
ALTER TABLE movements ADD part text NOT NULL DEFAULT '';
ALTER TABLE movements ADD UNIQUE (subject_id, kind, part);
ALTER TABLE movements DROP CONSTRAINT movements_payment_order_id_kind_key;
"""


def upgrade() -> None:
    op.execute(MOVEMENTS)


def downgrade() -> None:
    op.execute("ALTER TABLE movements RENAME subject_id TO payment_order_id")
    op.execute("ALTER TABLE movements ADD UNIQUE (payment_order_id, kind)")
    op.execute("ALTER TABLE movements DROP part")
