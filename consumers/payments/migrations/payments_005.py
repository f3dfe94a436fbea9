"""Why an order was declined stands beside it, for those who read and those who are told."""

from alembic import op

revision = "payments_005"
down_revision = "payments_004"
branch_labels = None
depends_on = None

# What was declined before is told by its history. A view may only grow at its end.
STATEMENTS = """
ALTER TABLE orders ADD COLUMN decline_code text;
UPDATE orders o SET decline_code = h.detail FROM history h
 WHERE o.status = 'FAILED' AND o.detail = 'declined' AND h.checkout_id = o.checkout_id
   AND h.payment_order_id = o.payment_order_id AND h.to_status = 'FAILED';

CREATE OR REPLACE VIEW order_view AS
SELECT o.payment_order_id, o.checkout_id, p.owner, p.buyer_account, o.position, o.seller_account, o.currency,
       o.gross, o.fee, o.net, o.status AS payment_order_status, o.detail, o.wallet_updated, o.ledger_updated,
       o.psp, o.scheme, o.psp_reference, o.captured_at, o.version, p.received_at, o.decline_code
  FROM orders o JOIN payments p USING (checkout_id);
"""

BEFORE = """
DROP VIEW order_view;
CREATE VIEW order_view AS
SELECT o.payment_order_id, o.checkout_id, p.owner, p.buyer_account, o.position, o.seller_account, o.currency,
       o.gross, o.fee, o.net, o.status AS payment_order_status, o.detail, o.wallet_updated, o.ledger_updated,
       o.psp, o.scheme, o.psp_reference, o.captured_at, o.version, p.received_at
  FROM orders o JOIN payments p USING (checkout_id);
GRANT SELECT ON order_view TO tally_payments_read;
ALTER TABLE orders DROP COLUMN decline_code;
"""


def upgrade() -> None:
    op.execute(STATEMENTS)


def downgrade() -> None:
    op.execute(BEFORE)
