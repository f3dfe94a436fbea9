"""Pay-outs claim their ids as refunds do; a seller's sealed destination is not shown to readers of views."""

from alembic import op

revision = "doors_payouts"
down_revision = "doors_sellers"
branch_labels = None
depends_on = None

KINDS = """
ALTER TABLE operation_ids DROP CONSTRAINT operation_ids_kind_check;
ALTER TABLE operation_ids ALTER checkout_id DROP NOT NULL, ALTER payment_order_id DROP NOT NULL,
    ADD CONSTRAINT operation_ids_kind_check CHECK (kind IN ('capture', 'void', 'refund', 'payout', 'payout_cancel')),
    ADD CONSTRAINT operation_ids_order_check
        CHECK (kind LIKE 'payout%' OR (checkout_id IS NOT NULL AND payment_order_id IS NOT NULL));
"""
VIEWS = """
CREATE OR REPLACE VIEW seller_view AS
SELECT seller_account, owner, revision, (settings - 'name' - 'country') #- '{destination,sealed}' AS terms, changed_at
  FROM sellers;
CREATE OR REPLACE VIEW seller_history_view AS
SELECT seller_account, revision, changed_by, reason, at,
       (before - 'name' - 'country') #- '{destination,sealed}' AS before,
       (after - 'name' - 'country') #- '{destination,sealed}' AS after
  FROM seller_history;
"""
BEFORE = """
CREATE OR REPLACE VIEW seller_view AS
SELECT seller_account, owner, revision, settings - 'name' - 'country' AS terms, changed_at FROM sellers;
CREATE OR REPLACE VIEW seller_history_view AS
SELECT seller_account, revision, changed_by, reason, at, before - 'name' - 'country' AS before,
       after - 'name' - 'country' AS after
  FROM seller_history;
DELETE FROM operation_ids WHERE kind LIKE 'payout%';
ALTER TABLE operation_ids DROP CONSTRAINT operation_ids_kind_check, DROP CONSTRAINT operation_ids_order_check;
ALTER TABLE operation_ids ALTER checkout_id SET NOT NULL, ALTER payment_order_id SET NOT NULL,
    ADD CONSTRAINT operation_ids_kind_check CHECK (kind IN ('capture', 'void', 'refund'));
"""


def upgrade() -> None:
    op.execute(KINDS)
    op.execute(VIEWS)


def downgrade() -> None:
    op.execute(BEFORE)
