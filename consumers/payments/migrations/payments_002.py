"""Payments that are not done are few: found by an index of their own, to tell which of them are stuck."""

from alembic import op

revision = "payments_002"
down_revision = "payments_001"
branch_labels = None
depends_on = None

# `done_at` changes once in a payment's life, so one of its updates is not in place any more.
INDEX = "CREATE INDEX payments_open ON payments (received_at) WHERE done_at IS NULL"

VIEWS = """
CREATE VIEW open_payment_view AS SELECT checkout_id, owner, status, deadline, received_at FROM payments WHERE done_at IS NULL;

CREATE VIEW open_order_view AS
SELECT p.checkout_id, p.owner, p.status, p.received_at, p.deadline, o.payment_order_id, o.position, o.seller_account,
       o.gross, o.currency, o.status AS payment_order_status, o.detail, o.wallet_updated, o.ledger_updated, o.captured_at,
       o.psp
  FROM payments p JOIN orders o USING (checkout_id) WHERE p.done_at IS NULL;

GRANT SELECT ON open_payment_view, open_order_view TO tally_payments_read;
"""


def upgrade() -> None:
    op.execute(INDEX)
    op.execute(VIEWS)


def downgrade() -> None:
    op.execute("DROP VIEW open_order_view, open_payment_view")
    op.execute("DROP INDEX payments_open")
