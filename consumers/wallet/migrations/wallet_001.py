"""The wallets, their movements (append-only), what buyers have paid, and what others read."""

from alembic import op

revision = "wallet_001"
down_revision = None
branch_labels = ("wallet",)
depends_on = None

TABLES = """
CREATE TABLE wallets (
    seller_account text NOT NULL,
    currency text NOT NULL,
    available bigint NOT NULL DEFAULT 0,  -- minor units; facts from outside may take it below zero
    pending bigint NOT NULL DEFAULT 0,
    reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    version bigint NOT NULL DEFAULT 0,    -- counts its movements
    opened_at timestamptz NOT NULL,
    PRIMARY KEY (seller_account, currency)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0);

-- A movement's id is derived from its cause's: its primary key also keeps a cause from moving twice.
CREATE TABLE movements (
    movement_id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('captured')),
    payment_order_id text NOT NULL,
    checkout_id text NOT NULL,
    cause_event_id uuid NOT NULL,
    amount bigint NOT NULL,
    at timestamptz NOT NULL,
    seller_account text NOT NULL,
    currency text NOT NULL,
    available_after bigint NOT NULL,
    pending_after bigint NOT NULL,
    reserved_after bigint NOT NULL,
    wallet_version bigint NOT NULL,
    UNIQUE (payment_order_id, kind),
    UNIQUE (seller_account, currency, wallet_version)
);

CREATE TABLE buyers (
    buyer_account text NOT NULL,
    currency text NOT NULL,
    gross_total bigint NOT NULL,
    orders bigint NOT NULL,
    PRIMARY KEY (buyer_account, currency)
) WITH (fillfactor = 70);

CREATE FUNCTION refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON movements
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
"""

VIEWS = """
CREATE VIEW wallet_view AS
    SELECT seller_account, currency, available, pending, reserved, version, opened_at FROM wallets;
CREATE VIEW movement_view AS
    SELECT movement_id, kind, payment_order_id, checkout_id, cause_event_id, amount, at, seller_account, currency,
        available_after, pending_after, reserved_after, wallet_version
    FROM movements;
CREATE VIEW buyer_view AS
    SELECT buyer_account, currency, gross_total, orders FROM buyers;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(VIEWS)
    op.execute("REVOKE UPDATE, DELETE ON movements FROM tally_wallet")
    op.execute("REVOKE DELETE ON wallets, buyers FROM tally_wallet")
    op.execute("GRANT SELECT ON wallet_view, movement_view, buyer_view TO tally_wallet_read")
