"""What is read often is found by an index: lists of payments, a PSP's reference, revenue of hours that are over."""

from alembic import op

revision = "payments_004"
down_revision = "payments_003"
branch_labels = None
depends_on = None

# An order knows its payment's owner and time, so a seller's newest and revenue need no look at each payment.
ORDERS = """
ALTER TABLE orders ADD COLUMN owner text, ADD COLUMN received_at timestamptz;
UPDATE orders o SET owner = p.owner, received_at = p.received_at FROM payments p WHERE p.checkout_id = o.checkout_id;
ALTER TABLE orders ALTER COLUMN owner SET NOT NULL, ALTER COLUMN received_at SET NOT NULL;

DROP INDEX orders_by_seller, orders_by_capture;
CREATE INDEX orders_by_seller ON orders (seller_account, owner, received_at);
"""

# Summaries of ranges of pages: unlike other indexes they let PostgreSQL go on updating orders in place.
SUMMARIES = """
CREATE INDEX orders_by_capture ON orders USING brin (captured_at) WITH (autosummarize = on);
CREATE INDEX orders_by_psp_reference ON orders USING brin (psp_reference text_bloom_ops) WITH (autosummarize = on);
"""

# `failed` is how a payment ended that did not succeed in full. It changes with `done_at` and never else, so an index on
# it adds no update that is not in place; one on `status`, which changes more often, would. Indexes end with the time:
# an id behind it, for the order of those of one millisecond, would double them.
PAYMENTS = """
ALTER TABLE payments ADD COLUMN failed text
    GENERATED ALWAYS AS (CASE WHEN done_at IS NOT NULL AND status <> 'succeeded' THEN status END) STORED;

DROP INDEX payments_by_buyer;
CREATE INDEX payments_by_buyer ON payments (buyer_account, owner, received_at);
CREATE INDEX payments_by_time ON payments (received_at);
CREATE INDEX payments_by_failure ON payments (owner, failed, received_at) WHERE failed IS NOT NULL;
"""

# Hours before `revenue_closed` are over; those before `revenue_summed` are in `revenue_days`. What is captured with a
# time of an hour that is over goes through `revenue_late`.
REVENUE = """
CREATE TABLE revenue_days (
    day date NOT NULL,
    owner text NOT NULL,
    currency text NOT NULL,
    seller_account text NOT NULL,
    psp text NOT NULL,
    orders bigint NOT NULL,
    gross numeric NOT NULL,
    fee numeric NOT NULL,
    net numeric NOT NULL,
    PRIMARY KEY (day, currency, seller_account, psp, owner)  -- in the order of the report, for all owners and for one
) WITH (fillfactor = 70);
CREATE INDEX revenue_days_by_owner ON revenue_days (owner, day, currency, seller_account, psp);

CREATE TABLE revenue_closed (until timestamptz NOT NULL);
CREATE TABLE revenue_summed (until timestamptz NOT NULL);
INSERT INTO revenue_closed VALUES ('0001-01-01 00:00Z');
INSERT INTO revenue_summed VALUES ('0001-01-01 00:00Z');

CREATE TABLE revenue_late (payment_order_id text PRIMARY KEY, captured_at timestamptz NOT NULL);

REVOKE INSERT, DELETE ON revenue_closed, revenue_summed FROM tally_payments;
REVOKE DELETE ON revenue_days FROM tally_payments;
"""

VIEWS = """
CREATE VIEW payment_place_view AS
SELECT checkout_id, owner, buyer_account, status, done_at IS NOT NULL AS is_payment_done, failed, received_at FROM payments;

CREATE VIEW order_place_view AS
SELECT checkout_id, payment_order_id, owner, seller_account, received_at FROM orders;

-- Several rows for what is one in `revenue_view`: whoever adds up anyway need not have it added up twice.
CREATE VIEW revenue_part_view AS
SELECT day, owner, currency, seller_account, psp, orders, gross, fee, net FROM revenue_days
UNION ALL
SELECT (captured_at AT TIME ZONE 'UTC')::date, owner, currency, seller_account, psp, 1::bigint,
       gross::numeric, fee::numeric, net::numeric
  FROM orders WHERE status = 'SUCCESS' AND captured_at >= (SELECT until FROM revenue_summed)
UNION ALL
SELECT (o.captured_at AT TIME ZONE 'UTC')::date, o.owner, o.currency, o.seller_account, o.psp, 1::bigint,
       o.gross::numeric, o.fee::numeric, o.net::numeric
  FROM revenue_late l JOIN orders o USING (payment_order_id) WHERE l.captured_at < (SELECT until FROM revenue_summed);

CREATE OR REPLACE VIEW revenue_view AS
SELECT day, owner, currency, seller_account, psp,
       sum(orders)::bigint AS orders, sum(gross) AS gross, sum(fee) AS fee, sum(net) AS net
  FROM revenue_part_view GROUP BY 1, 2, 3, 4, 5;

GRANT SELECT ON payment_place_view, order_place_view, revenue_part_view TO tally_payments_read;
"""


def upgrade() -> None:
    for statements in (ORDERS, SUMMARIES, PAYMENTS, REVENUE, VIEWS):
        op.execute(statements)
