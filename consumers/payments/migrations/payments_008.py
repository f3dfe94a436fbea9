"""Sellers' terms, each revision as it was heard, and by which of them an order was priced."""

from alembic import op

revision = "payments_008"
down_revision = "payments_007"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE sellers (
    seller_account text NOT NULL,
    revision int NOT NULL,
    owner text NOT NULL,
    state text NOT NULL,
    said bytea NOT NULL,
    event_id uuid NOT NULL,
    heard_at timestamptz NOT NULL,
    PRIMARY KEY (seller_account, revision)
);
REVOKE UPDATE, DELETE ON sellers FROM tally_payments;
ALTER TABLE orders ADD COLUMN seller_revision int;
"""

VIEWS = """
CREATE VIEW seller_view AS
SELECT seller_account, revision, owner, state, convert_from(said, 'UTF8')::jsonb AS said, event_id, heard_at FROM sellers;

CREATE OR REPLACE VIEW order_view AS
SELECT o.payment_order_id, o.checkout_id, p.owner, p.buyer_account, o.position, o.seller_account, o.currency,
       o.gross, o.fee, o.net, o.status AS payment_order_status, o.detail, o.wallet_updated, o.ledger_updated,
       o.psp, o.scheme, o.psp_reference, o.captured_at, o.version, p.received_at, o.decline_code, o.capture, o.seller_revision
  FROM orders o JOIN payments p USING (checkout_id);

GRANT SELECT ON seller_view TO tally_payments_read;
"""

BEFORE = """
DROP VIEW order_view;
CREATE VIEW order_view AS
SELECT o.payment_order_id, o.checkout_id, p.owner, p.buyer_account, o.position, o.seller_account, o.currency,
       o.gross, o.fee, o.net, o.status AS payment_order_status, o.detail, o.wallet_updated, o.ledger_updated,
       o.psp, o.scheme, o.psp_reference, o.captured_at, o.version, p.received_at, o.decline_code, o.capture
  FROM orders o JOIN payments p USING (checkout_id);
GRANT SELECT ON order_view TO tally_payments_read;
DROP VIEW seller_view;
ALTER TABLE orders DROP COLUMN seller_revision;
DROP TABLE sellers;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(VIEWS)


def downgrade() -> None:
    op.execute(BEFORE)
