"""API keys, and who claimed which checkout, order id and Idempotency-Key."""

from alembic import op

revision = "doors_001"
down_revision = None
branch_labels = ("doors",)
depends_on = None

# Ids are ASCII: COLLATE "C" sorts them as Python does, and claims are always made in that order.
TABLES = """
CREATE TABLE api_keys (
    key_id text COLLATE "C" PRIMARY KEY,     -- shown to people; not the secret
    key_hash bytea NOT NULL UNIQUE,          -- SHA-256: the key itself is 256 random bits
    owner text NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

CREATE TABLE requests (
    checkout_id text COLLATE "C" PRIMARY KEY,
    owner text NOT NULL,
    hidden bytea NOT NULL,                   -- JSON: field → keyed hash, of what the reply does not show (names, …)
    reply bytea NOT NULL,                    -- the 202, to be given again
    accepted_at timestamptz NOT NULL,
    event_id uuid NOT NULL
);
CREATE INDEX requests_accepted_at ON requests USING brin (accepted_at);

CREATE TABLE order_ids (
    payment_order_id text COLLATE "C" PRIMARY KEY,
    checkout_id text NOT NULL,
    owner text NOT NULL
);

CREATE TABLE idempotency_keys (
    owner text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    checkout_id text NOT NULL,
    PRIMARY KEY (owner, key)
);

CREATE VIEW request_view AS SELECT checkout_id, owner, accepted_at, event_id FROM requests;
CREATE VIEW order_id_view AS SELECT payment_order_id, checkout_id, owner FROM order_ids;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute("REVOKE UPDATE ON requests, order_ids, idempotency_keys FROM tally_doors")
    op.execute("GRANT SELECT ON request_view, order_id_view TO tally_doors_read")


def downgrade() -> None:
    op.execute("DROP VIEW order_id_view, request_view")
    op.execute("DROP TABLE idempotency_keys, order_ids, requests, api_keys")
