"""What sellers' terms hold back: holdings behind captures, and which pocket of its wallet a movement moves."""

from alembic import op

revision = "wallet_005"
down_revision = "wallet_004"
branch_labels = None
depends_on = None

# fillfactor: a holding is updated once or twice. Both indexes hold what is pending alone.
TABLES = """
ALTER TABLE wallets ADD CHECK (pending >= 0);
ALTER TABLE movements ADD to_pending bigint NOT NULL DEFAULT 0;  -- of the amount; what leaves pending is below zero
ALTER TABLE movements ALTER checkout_id DROP NOT NULL;

CREATE TABLE holdings (
    movement_id uuid NOT NULL,
    share text NOT NULL CHECK (share IN ('net', 'reserve')),
    seller_account text NOT NULL,
    currency text NOT NULL,
    payment_order_id text NOT NULL,
    remaining bigint NOT NULL CHECK (remaining >= 0),
    available_on timestamptz NOT NULL,
    released_by uuid,
    PRIMARY KEY (movement_id, share)
) WITH (fillfactor = 70);
CREATE INDEX holdings_by_order ON holdings (payment_order_id) WHERE released_by IS NULL AND remaining > 0;
CREATE INDEX holdings_by_wallet ON holdings (seller_account, currency, available_on)
    WHERE released_by IS NULL AND remaining > 0;
"""

# The subject of a movement between pockets is the wallet: `<seller>:<currency>`, which no order is called.
VIEWS = """
CREATE OR REPLACE VIEW movement_view AS
    SELECT movement_id, kind, subject_id AS payment_order_id, checkout_id, cause_event_id, amount, at, seller_account,
        currency, available_after, pending_after, reserved_after, wallet_version, part, to_pending
    FROM movements;
CREATE VIEW holding_view AS
    SELECT movement_id, share, seller_account, currency, payment_order_id, remaining, available_on, released_by,
        date_trunc('hour', available_on - interval '1 microsecond', 'UTC') + interval '1 hour' AS available_from
    FROM holdings;
"""

BEFORE = """
DROP VIEW holding_view;
DROP TABLE holdings;
DROP VIEW movement_view;
CREATE VIEW movement_view AS
    SELECT movement_id, kind, subject_id AS payment_order_id, checkout_id, cause_event_id, amount, at, seller_account,
        currency, available_after, pending_after, reserved_after, wallet_version, part
    FROM movements;
GRANT SELECT ON movement_view TO tally_wallet_read;
ALTER TABLE movements DROP to_pending;
ALTER TABLE wallets DROP CONSTRAINT wallets_pending_check;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(VIEWS)
    op.execute("REVOKE DELETE ON holdings FROM tally_wallet")
    op.execute("GRANT SELECT ON holding_view TO tally_wallet_read")


def downgrade() -> None:
    op.execute(BEFORE)
