"""A PSP may ask for a dispute in another currency than the order's: a dispute's fee has its own."""

from alembic import op

revision = "payments_010"
down_revision = "payments_009"
branch_labels = None
depends_on = None

# Of those heard of before no other currency is known. A view may only grow at its end.
STATEMENTS = """
ALTER TABLE disputes ADD COLUMN fee_currency text;
UPDATE disputes SET fee_currency = currency WHERE fee IS NOT NULL;

CREATE OR REPLACE VIEW dispute_view AS
SELECT dispute_id, stage, checkout_id, payment_order_id, owner, currency, amount, fee, reason, due_by, status,
       step > 0 AND wallet_step >= step AS wallet_updated, step > 0 AND ledger_step >= step AS ledger_updated,
       step, opened_at, changed_at, version, fee_currency
  FROM disputes WHERE status IS NOT NULL;
"""


def upgrade() -> None:
    op.execute(STATEMENTS)
