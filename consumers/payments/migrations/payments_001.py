"""Payments, their orders, the history of both, refusals; and what others may read of them."""

from alembic import op

revision = "payments_001"
down_revision = None
branch_labels = ("payments",)
depends_on = None

# fillfactor: each row is updated a few times soon after it came, and no indexed column changes, so there should be
# room for the new versions on the same page.
_TABLES = """
CREATE TABLE payments (
    checkout_id text PRIMARY KEY,
    owner text NOT NULL,
    buyer_account text NOT NULL,
    token text NOT NULL,
    description text,
    metadata json NOT NULL,
    contents text NOT NULL,
    status text NOT NULL CHECK (status IN
        ('received', 'in_review', 'executing', 'succeeded', 'partially_succeeded', 'failed', 'refused')),
    done_at timestamptz,
    version int NOT NULL,
    deadline timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    event_id uuid NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX payments_by_owner ON payments (owner, received_at, checkout_id);
CREATE INDEX payments_by_buyer ON payments (buyer_account);

CREATE TABLE orders (
    payment_order_id text PRIMARY KEY,
    checkout_id text NOT NULL,
    position smallint NOT NULL,
    seller_account text NOT NULL,
    currency text NOT NULL,
    gross bigint NOT NULL CHECK (gross > 0),
    fee bigint NOT NULL CHECK (fee >= 0),
    net bigint NOT NULL CHECK (net >= 0),
    status text NOT NULL CHECK (status IN ('NOT_STARTED', 'EXECUTING', 'SUCCESS', 'FAILED')),
    detail text NOT NULL,
    wallet_updated bool NOT NULL,
    ledger_updated bool NOT NULL,
    psp text,
    scheme text,
    psp_reference text,
    captured_at timestamptz,
    version int NOT NULL,
    CHECK (gross = net + fee),
    CHECK (status <> 'SUCCESS' OR captured_at IS NOT NULL)
) WITH (fillfactor = 60);

CREATE INDEX orders_by_checkout ON orders (checkout_id, position);
CREATE INDEX orders_by_seller ON orders (seller_account);
CREATE INDEX orders_by_capture ON orders USING brin (((captured_at AT TIME ZONE 'UTC')::date))
    WITH (autosummarize = on);

CREATE TABLE history (
    checkout_id text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    payment_order_id text,
    from_status text,
    to_status text NOT NULL,
    detail text NOT NULL,
    at timestamptz NOT NULL,
    event_id uuid NOT NULL,
    PRIMARY KEY (checkout_id, id)
);

CREATE TABLE refusals (
    checkout_id text NOT NULL,
    owner text NOT NULL,
    code text NOT NULL,
    detail text NOT NULL,
    at timestamptz NOT NULL,
    event_id uuid PRIMARY KEY
);

CREATE INDEX refusals_by_checkout ON refusals (checkout_id);
"""

_APPEND_ONLY = """
REVOKE UPDATE, DELETE ON history, refusals FROM tally_payments;
REVOKE DELETE ON payments, orders FROM tally_payments;
"""

_VIEWS = """
CREATE VIEW order_view AS
SELECT o.payment_order_id, o.checkout_id, p.owner, p.buyer_account, o.position, o.seller_account, o.currency,
       o.gross, o.fee, o.net, o.status AS payment_order_status, o.detail, o.wallet_updated, o.ledger_updated,
       o.psp, o.scheme, o.psp_reference, o.captured_at, o.version, p.received_at
  FROM orders o JOIN payments p USING (checkout_id);

CREATE VIEW payment_view AS
SELECT p.checkout_id, p.owner, p.buyer_account, p.description, p.metadata, p.status,
       p.done_at IS NOT NULL AS is_payment_done, p.done_at, p.deadline, p.received_at, p.version, p.event_id,
       t.orders, t.orders_succeeded, t.orders_failed, t.sellers
  FROM payments p
 CROSS JOIN LATERAL (
       SELECT count(*) AS orders,
              count(*) FILTER (WHERE o.status = 'SUCCESS') AS orders_succeeded,
              count(*) FILTER (WHERE o.status = 'FAILED') AS orders_failed,
              array_agg(o.seller_account ORDER BY o.position) AS sellers
         FROM orders o WHERE o.checkout_id = p.checkout_id) t;

CREATE VIEW history_view AS
SELECT h.checkout_id, p.owner, h.id, h.payment_order_id, h.from_status, h.to_status, h.detail, h.at, h.event_id
  FROM history h JOIN payments p USING (checkout_id);

CREATE VIEW refusal_view AS
SELECT checkout_id, owner, code, detail, at, event_id FROM refusals;

CREATE VIEW revenue_view AS
SELECT (o.captured_at AT TIME ZONE 'UTC')::date AS day, p.owner, o.currency, o.seller_account, o.psp,
       count(*) AS orders, sum(o.gross)::numeric AS gross, sum(o.fee)::numeric AS fee, sum(o.net)::numeric AS net
  FROM orders o JOIN payments p USING (checkout_id)
 WHERE o.status = 'SUCCESS'
 GROUP BY 1, 2, 3, 4, 5;

GRANT SELECT ON order_view, payment_view, history_view, refusal_view, revenue_view TO tally_payments_read;
"""


def upgrade() -> None:
    op.execute(_TABLES)
    op.execute(_APPEND_ONLY)
    op.execute(_VIEWS)


def downgrade() -> None:
    op.execute("DROP VIEW order_view, payment_view, history_view, refusal_view, revenue_view")
    op.execute("DROP TABLE payments, orders, history, refusals")
