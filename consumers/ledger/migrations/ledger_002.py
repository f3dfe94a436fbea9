"""Journals of what has parts: an order's captures, refunds and disputes are a journal each."""

from alembic import op

revision = "ledger_002"
down_revision = "ledger_001"
branch_labels = None
depends_on = None

# Views keep the names that they gave their columns. The new key is made first: a journal is never without one.
JOURNALS = """
ALTER TABLE journals RENAME payment_order_id TO subject_id;
ALTER TABLE journals ADD part text NOT NULL DEFAULT '';
ALTER TABLE journals ADD UNIQUE (subject_id, template, part);
ALTER TABLE journals DROP CONSTRAINT journals_payment_order_id_template_key;
"""


def upgrade() -> None:
    op.execute(JOURNALS)


def downgrade() -> None:
    op.execute("ALTER TABLE journals RENAME subject_id TO payment_order_id")
    op.execute("ALTER TABLE journals ADD UNIQUE (payment_order_id, template)")
    op.execute("ALTER TABLE journals DROP part")
