"""Revenue counts what was captured, part by part, and what went back: a line for each such fact behind a charge."""

from alembic import op

revision = "payments_007"
down_revision = "payments_006"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE orders ADD COLUMN capture text;
UPDATE orders o SET capture = p.capture FROM payments p WHERE p.checkout_id = o.checkout_id AND p.capture IS NOT NULL;

CREATE TABLE revenue_lines (
    payment_order_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN
        ('captured', 'capture_reversed', 'refunded', 'refund_reversed', 'chargeback_opened', 'chargeback_won')),
    part text NOT NULL,
    at timestamptz NOT NULL,
    owner text NOT NULL,
    currency text NOT NULL,
    seller_account text NOT NULL,
    psp text NOT NULL,
    orders int NOT NULL,
    gross bigint NOT NULL,
    fee bigint NOT NULL,
    event_id uuid NOT NULL,
    summed bool NOT NULL DEFAULT false,
    PRIMARY KEY (payment_order_id, kind, part)
);
CREATE INDEX revenue_lines_open ON revenue_lines (at) WHERE NOT summed;
REVOKE UPDATE, DELETE ON revenue_lines FROM tally_payments;
GRANT UPDATE (summed) ON revenue_lines TO tally_payments;

ALTER TABLE revenue_days ADD COLUMN refunded numeric NOT NULL DEFAULT 0, ADD COLUMN charged_back numeric NOT NULL DEFAULT 0,
    ADD COLUMN fee_returned numeric NOT NULL DEFAULT 0;
"""

# What happened before is told by the history: the n-th time that an operation was done is its n-th turn. An automatic
# capture's first turn is no line. Shares of earlier turns are taken for those of the last.
LINES_OF_BEFORE = """
INSERT INTO revenue_lines (payment_order_id, kind, part, at, owner, currency, seller_account, psp, orders, gross, fee, event_id)
SELECT payment_order_id, kind, name || CASE WHEN turn > 1 THEN '#' || turn ELSE '' END, at, owner, currency, seller_account,
       psp, CASE WHEN capture = 'manual' AND kind = 'captured' AND 1 = row_number() OVER (
           PARTITION BY payment_order_id, kind ORDER BY id) THEN 1 ELSE 0 END, amount, coalesce(fee, 0), event_id
  FROM (SELECT o.payment_order_id, CASE h.to_status WHEN 'reversed' THEN x.kind || '_reversed' ELSE
                   CASE x.kind WHEN 'capture' THEN 'captured' ELSE 'refunded' END END AS kind,
               CASE WHEN x.contents IS NULL THEN '' ELSE x.operation_id END AS name,
               row_number() OVER (PARTITION BY x.kind, x.operation_id, h.to_status ORDER BY h.id)
                   + CASE WHEN x.contents IS NULL AND h.to_status = 'succeeded' THEN 1 ELSE 0 END AS turn,
               h.id, h.at, h.event_id, o.owner, o.currency, o.seller_account, o.psp, o.capture, x.amount, x.fee
          FROM operation_history h JOIN operations x ON x.kind = h.what AND x.operation_id = h.subject_id
          JOIN orders o ON o.payment_order_id = x.payment_order_id
         WHERE h.what IN ('capture', 'refund') AND h.to_status IN ('succeeded', 'reversed')) AS done;

INSERT INTO revenue_lines (payment_order_id, kind, part, at, owner, currency, seller_account, psp, orders, gross, fee, event_id)
SELECT o.payment_order_id, 'chargeback_' || h.to_status, d.dispute_id || '.' || d.stage, h.at, o.owner, o.currency,
       o.seller_account, o.psp, 0, d.amount, 0, h.event_id
  FROM operation_history h JOIN disputes d ON d.dispute_id = h.subject_id AND h.detail = 'stage ' || d.stage
  JOIN orders o ON o.payment_order_id = d.payment_order_id
 WHERE h.what = 'dispute' AND h.to_status IN ('opened', 'won');
"""

# Manual orders were summed whole.
WHOLE_ONES = """
UPDATE revenue_days d
   SET orders = d.orders - m.orders, gross = d.gross - m.gross, fee = d.fee - m.fee, net = d.net - m.net
  FROM (SELECT (captured_at AT TIME ZONE 'UTC')::date AS day, owner, currency, seller_account, psp, count(*) AS orders,
               sum(gross) AS gross, sum(fee) AS fee, sum(net) AS net
          FROM orders WHERE status = 'SUCCESS' AND capture = 'manual'
           AND captured_at < (SELECT until FROM revenue_summed)
           AND payment_order_id NOT IN (SELECT payment_order_id FROM revenue_late) GROUP BY 1, 2, 3, 4, 5) AS m
 WHERE (d.day, d.owner, d.currency, d.seller_account, d.psp) = (m.day, m.owner, m.currency, m.seller_account, m.psp);
DELETE FROM revenue_days WHERE orders = 0;
DELETE FROM revenue_late WHERE payment_order_id IN (SELECT payment_order_id FROM orders WHERE capture = 'manual');
"""

# A line counts from the moment it is there. The columns have the order of `revenue_days`.
VIEWS = """
CREATE VIEW revenue_line_view AS
SELECT (at AT TIME ZONE 'UTC')::date AS day, owner, currency, seller_account, psp, orders::bigint AS orders,
       (sign * gross * captured)::numeric AS gross, (sign * fee * captured)::numeric AS fee,
       (sign * (gross - fee) * captured)::numeric AS net,
       CASE WHEN kind LIKE 'refund%' THEN sign * gross ELSE 0 END::numeric AS refunded,
       CASE WHEN kind LIKE 'chargeback%' THEN sign * gross ELSE 0 END::numeric AS charged_back,
       (sign * fee * (1 - captured))::numeric AS fee_returned, payment_order_id, kind, part, summed
  FROM (SELECT *, CASE WHEN kind IN ('captured', 'refunded', 'chargeback_opened') THEN 1 ELSE -1 END AS sign,
               CASE WHEN kind LIKE 'capture%' THEN 1 ELSE 0 END AS captured FROM revenue_lines) AS l;

CREATE OR REPLACE VIEW revenue_part_view AS
SELECT day, owner, currency, seller_account, psp, orders, gross, fee, net, refunded, charged_back, fee_returned FROM revenue_days
UNION ALL
SELECT (captured_at AT TIME ZONE 'UTC')::date, owner, currency, seller_account, psp, 1::bigint,
       gross::numeric, fee::numeric, net::numeric, 0::numeric, 0::numeric, 0::numeric
  FROM orders WHERE status = 'SUCCESS' AND capture IS NULL AND captured_at >= (SELECT until FROM revenue_summed)
UNION ALL
SELECT (o.captured_at AT TIME ZONE 'UTC')::date, o.owner, o.currency, o.seller_account, o.psp, 1::bigint,
       o.gross::numeric, o.fee::numeric, o.net::numeric, 0::numeric, 0::numeric, 0::numeric
  FROM revenue_late l JOIN orders o USING (payment_order_id)
 WHERE o.capture IS NULL AND l.captured_at < (SELECT until FROM revenue_summed)
UNION ALL
SELECT day, owner, currency, seller_account, psp, orders, gross, fee, net, refunded, charged_back, fee_returned
  FROM revenue_line_view WHERE NOT summed;

CREATE OR REPLACE VIEW revenue_view AS
SELECT day, owner, currency, seller_account, psp,
       sum(orders)::bigint AS orders, sum(gross) AS gross, sum(fee) AS fee, sum(net) AS net, sum(refunded) AS refunded,
       sum(charged_back) AS charged_back, sum(fee_returned) AS fee_returned
  FROM revenue_part_view GROUP BY 1, 2, 3, 4, 5;

CREATE OR REPLACE VIEW order_view AS
SELECT o.payment_order_id, o.checkout_id, p.owner, p.buyer_account, o.position, o.seller_account, o.currency,
       o.gross, o.fee, o.net, o.status AS payment_order_status, o.detail, o.wallet_updated, o.ledger_updated,
       o.psp, o.scheme, o.psp_reference, o.captured_at, o.version, p.received_at, o.decline_code, o.capture
  FROM orders o JOIN payments p USING (checkout_id);

GRANT SELECT ON revenue_line_view TO tally_payments_read;
"""


def upgrade() -> None:
    for statements in (TABLES, LINES_OF_BEFORE, WHOLE_ONES, VIEWS):
        op.execute(statements)
