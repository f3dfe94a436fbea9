"""What buyers got back, and which part of its order a movement is about, for readers."""

from alembic import op

revision = "wallet_004"
down_revision = "wallet_003"
branch_labels = None
depends_on = None

# Movements are signed: what a debit takes is below zero. A view's new columns come last.
REFUNDS = """
ALTER TABLE buyers ADD refunded_total bigint NOT NULL DEFAULT 0;
CREATE OR REPLACE VIEW movement_view AS
    SELECT movement_id, kind, subject_id AS payment_order_id, checkout_id, cause_event_id, amount, at, seller_account,
        currency, available_after, pending_after, reserved_after, wallet_version, part
    FROM movements;
CREATE OR REPLACE VIEW buyer_view AS
    SELECT buyer_account, currency, gross_total, orders, refunded_total FROM buyers;
"""

BEFORE = """
DROP VIEW movement_view;
CREATE VIEW movement_view AS
    SELECT movement_id, kind, subject_id AS payment_order_id, checkout_id, cause_event_id, amount, at, seller_account,
        currency, available_after, pending_after, reserved_after, wallet_version
    FROM movements;
DROP VIEW buyer_view;
CREATE VIEW buyer_view AS
    SELECT buyer_account, currency, gross_total, orders FROM buyers;
GRANT SELECT ON movement_view, buyer_view TO tally_wallet_read;
ALTER TABLE buyers DROP refunded_total;
"""


def upgrade() -> None:
    op.execute(REFUNDS)


def downgrade() -> None:
    op.execute(BEFORE)
