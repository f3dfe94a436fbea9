"""Captures, voids, refunds and disputes behind an order, and what others may read of them."""

from alembic import op

revision = "payments_006"
down_revision = "payments_005"
branch_labels = None
depends_on = None

# fillfactor: each row is updated a few times soon after it came, and no indexed column changes.
TABLES = """
ALTER TABLE payments ADD COLUMN capture text CHECK (capture = 'manual');

CREATE TABLE operations (
    kind text NOT NULL CHECK (kind IN ('capture', 'void', 'refund')),
    operation_id text NOT NULL,
    checkout_id text NOT NULL,
    payment_order_id text NOT NULL,
    owner text NOT NULL,
    currency text NOT NULL,
    amount bigint,
    requested_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    event_id uuid NOT NULL,
    contents text,
    final bool,
    reason text,
    status text NOT NULL CHECK (status IN ('processing', 'succeeded', 'failed', 'reversed')),
    detail text NOT NULL,
    code text,
    fee bigint,
    net bigint,
    done_at timestamptz,
    step int NOT NULL,
    wallet_step int NOT NULL,
    ledger_step int NOT NULL,
    version int NOT NULL,
    PRIMARY KEY (kind, operation_id),
    CHECK (status NOT IN ('succeeded', 'reversed') OR (step > 0 AND amount IS NOT NULL)),
    CHECK (status <> 'succeeded' OR done_at IS NOT NULL)
) WITH (fillfactor = 60);
CREATE INDEX operations_by_order ON operations (payment_order_id);
CREATE INDEX operations_by_owner ON operations (owner, kind, requested_at, operation_id);

CREATE TABLE disputes (
    dispute_id text NOT NULL,
    stage int NOT NULL,
    checkout_id text NOT NULL,
    payment_order_id text NOT NULL,
    owner text NOT NULL,
    currency text NOT NULL,
    amount bigint NOT NULL,
    opened_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    status text CHECK (status IN ('inquiry', 'opened', 'won', 'lost')),  -- NULL: only wallet or ledger have spoken of it
    fee bigint,
    reason text NOT NULL,
    due_by timestamptz,
    step int NOT NULL,
    wallet_step int NOT NULL,
    ledger_step int NOT NULL,
    version int NOT NULL,
    PRIMARY KEY (dispute_id, stage)
);
CREATE INDEX disputes_by_order ON disputes (payment_order_id);
CREATE INDEX disputes_by_owner ON disputes (owner, opened_at, dispute_id);

CREATE TABLE authorisations (
    payment_order_id text PRIMARY KEY,
    checkout_id text NOT NULL,
    psp text NOT NULL,
    scheme text NOT NULL,
    psp_reference text NOT NULL,
    authorised_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE TABLE operation_history (
    payment_order_id text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    checkout_id text NOT NULL,
    what text NOT NULL CHECK (what IN ('capture', 'void', 'refund', 'dispute')),
    subject_id text NOT NULL,
    from_status text,
    to_status text NOT NULL,
    detail text NOT NULL,
    at timestamptz NOT NULL,
    event_id uuid NOT NULL,
    PRIMARY KEY (payment_order_id, id)
);

CREATE TABLE operation_refusals (
    event_id uuid PRIMARY KEY,
    kind text NOT NULL,
    operation_id text NOT NULL,
    checkout_id text NOT NULL,
    payment_order_id text NOT NULL,
    owner text NOT NULL,
    code text NOT NULL,
    detail text NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX operation_refusals_by_order ON operation_refusals (payment_order_id);
CREATE INDEX operation_refusals_by_id ON operation_refusals (kind, operation_id);
"""

APPEND_ONLY = """
REVOKE UPDATE, DELETE ON authorisations, operation_history, operation_refusals FROM tally_payments;
REVOKE DELETE ON operations, disputes FROM tally_payments;
"""

# Amounts of an order that is captured by itself are seen in its own row, but for a capture that was taken back.
VIEWS = """
CREATE VIEW operation_view AS
SELECT kind, operation_id, checkout_id, payment_order_id, owner, currency, amount, final, reason, status, detail, code, fee,
       net, step > 0 AND wallet_step >= step AS wallet_updated, step > 0 AND ledger_step >= step AS ledger_updated,
       step, contents IS NOT NULL AS asked, requested_at, changed_at, done_at, version, event_id
  FROM operations;

CREATE VIEW dispute_view AS
SELECT dispute_id, stage, checkout_id, payment_order_id, owner, currency, amount, fee, reason, due_by, status,
       step > 0 AND wallet_step >= step AS wallet_updated, step > 0 AND ledger_step >= step AS ledger_updated,
       step, opened_at, changed_at, version
  FROM disputes WHERE status IS NOT NULL;

CREATE VIEW authorisation_view AS
SELECT payment_order_id, checkout_id, psp, scheme, psp_reference, authorised_at, expires_at FROM authorisations;

CREATE VIEW operation_history_view AS
SELECT payment_order_id, id, checkout_id, what, subject_id, from_status, to_status, detail, at, event_id FROM operation_history;

CREATE VIEW operation_refusal_view AS
SELECT event_id, kind, operation_id, checkout_id, payment_order_id, owner, code, detail, at FROM operation_refusals;

CREATE VIEW order_amount_view AS
SELECT o.payment_order_id, o.checkout_id, coalesce(p.capture, 'automatic') AS capture,
       CASE WHEN p.capture IS NULL AND m.captures_done = 0 AND o.status = 'SUCCESS' THEN o.gross ELSE m.captured END
           AS amount_captured,
       CASE WHEN o.detail IN ('authorised', 'partly_captured') THEN greatest(o.gross - m.capture_taken, 0) ELSE 0 END
           AS amount_capturable,
       m.refunded AS amount_refunded, m.refund_taken AS amount_refund_taken, d.disputed AS amount_disputed,
       a.expires_at AS authorisation_expires_at
  FROM orders o
  JOIN payments p USING (checkout_id)
  LEFT JOIN authorisations a USING (payment_order_id)
 CROSS JOIN LATERAL (
       SELECT count(*) FILTER (WHERE kind = 'capture' AND step > 0) AS captures_done,
              coalesce(sum(amount) FILTER (WHERE kind = 'capture' AND status = 'succeeded'), 0)::bigint AS captured,
              coalesce(sum(amount) FILTER (WHERE kind = 'capture' AND status <> 'failed'), 0)::bigint AS capture_taken,
              coalesce(sum(amount) FILTER (WHERE kind = 'refund' AND status = 'succeeded'), 0)::bigint AS refunded,
              coalesce(sum(amount) FILTER (WHERE kind = 'refund' AND status IN ('processing', 'succeeded')), 0)::bigint
                  AS refund_taken
         FROM operations x WHERE x.payment_order_id = o.payment_order_id) m
 CROSS JOIN LATERAL (
       SELECT coalesce(sum(amount) FILTER (WHERE status IN ('opened', 'lost')), 0)::bigint AS disputed
         FROM disputes x WHERE x.payment_order_id = o.payment_order_id) d;

GRANT SELECT ON operation_view, dispute_view, authorisation_view, operation_history_view, operation_refusal_view,
    order_amount_view TO tally_payments_read;
"""


def upgrade() -> None:
    for statements in (TABLES, APPEND_ONLY, VIEWS):
        op.execute(statements)


def downgrade() -> None:
    op.execute(
        "DROP VIEW order_amount_view, operation_refusal_view, operation_history_view, authorisation_view, dispute_view,"
        " operation_view"
    )
    op.execute("DROP TABLE operation_refusals, operation_history, authorisations, disputes, operations")
    op.execute("ALTER TABLE payments DROP COLUMN capture")
