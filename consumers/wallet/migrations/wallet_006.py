"""What is kept of wallets for pay-outs, and which movements make it more or less."""

from alembic import op

revision = "wallet_006"
down_revision = "wallet_005"
branch_labels = None
depends_on = None

# A reservation stays as long as its pay-out's movements: it answers whatever is said of the pay-out once more.
TABLES = """
ALTER TABLE movements ADD to_reserved bigint NOT NULL DEFAULT 0;  -- of the amount; what leaves reserved is below zero

CREATE TABLE reservations (
    payout_id text PRIMARY KEY,
    owner text NOT NULL,
    seller_account text NOT NULL,
    currency text NOT NULL,
    asked bigint,  -- NULL: all
    minimum bigint,
    keep bigint,
    amount bigint NOT NULL CHECK (amount >= 0),
    state text NOT NULL CHECK (state IN ('reserved', 'refused', 'released', 'settled', 'returned')),
    code text,
    placed_by uuid NOT NULL,
    placed_at timestamptz NOT NULL,
    moved_by uuid NOT NULL,
    version integer NOT NULL,
    CHECK ((state = 'refused') = (code IS NOT NULL) AND (state = 'refused') = (amount = 0))
) WITH (fillfactor = 70);
CREATE INDEX reservations_open ON reservations (seller_account, currency, placed_at) WHERE state = 'reserved';
"""

# The subject of a movement for a pay-out is the pay-out. A view's new columns come last.
VIEWS = """
CREATE OR REPLACE VIEW movement_view AS
    SELECT movement_id, kind, subject_id AS payment_order_id, checkout_id, cause_event_id, amount, at, seller_account,
        currency, available_after, pending_after, reserved_after, wallet_version, part, to_pending, to_reserved
    FROM movements;
CREATE VIEW reservation_view AS
    SELECT payout_id, owner, seller_account, currency, asked, minimum, keep, amount, state, code, placed_by, placed_at,
        moved_by, version
    FROM reservations;
"""

BEFORE = """
DROP VIEW reservation_view;
DROP TABLE reservations;
DROP VIEW movement_view;
CREATE VIEW movement_view AS
    SELECT movement_id, kind, subject_id AS payment_order_id, checkout_id, cause_event_id, amount, at, seller_account,
        currency, available_after, pending_after, reserved_after, wallet_version, part, to_pending
    FROM movements;
GRANT SELECT ON movement_view TO tally_wallet_read;
ALTER TABLE movements DROP to_reserved;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(VIEWS)
    op.execute("REVOKE DELETE ON reservations FROM tally_wallet")
    op.execute("GRANT SELECT ON reservation_view TO tally_wallet_read")


def downgrade() -> None:
    op.execute(BEFORE)
