"""Operations and disputes that are not through are few: found by indexes of their own, to tell which of them are stuck."""

from alembic import op

revision = "payments_009"
down_revision = "payments_008"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE INDEX operations_open ON operations (changed_at)
    WHERE status = 'processing' OR wallet_step < step OR ledger_step < step;
CREATE INDEX disputes_open ON disputes (changed_at) WHERE wallet_step < step OR ledger_step < step;

CREATE VIEW open_operation_view AS
SELECT x.kind, x.operation_id, x.payment_order_id, x.checkout_id, o.psp, x.amount, x.currency, x.status, x.detail,
       x.wallet_step >= x.step AS wallet_updated, x.ledger_step >= x.step AS ledger_updated, x.requested_at, x.changed_at,
       o.status <> 'EXECUTING' OR o.detail = 'authorised' AS is_charged,
       x.kind = 'capture' AND o.detail <> 'partly_captured' AND NOT (o.wallet_updated AND o.ledger_updated) AS told_by_order
  FROM operations x JOIN orders o USING (payment_order_id)
 WHERE x.status = 'processing' OR x.wallet_step < x.step OR x.ledger_step < x.step;

CREATE VIEW open_dispute_view AS
SELECT d.dispute_id, d.stage, d.payment_order_id, d.checkout_id, o.psp, d.amount, d.currency, d.status,
       d.wallet_step >= d.step AS wallet_updated, d.ledger_step >= d.step AS ledger_updated, d.changed_at
  FROM disputes d JOIN orders o USING (payment_order_id) WHERE d.wallet_step < d.step OR d.ledger_step < d.step;

GRANT SELECT ON open_operation_view, open_dispute_view TO tally_payments_read;
"""


def upgrade() -> None:
    op.execute(STATEMENTS)
