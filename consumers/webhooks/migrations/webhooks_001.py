"""Endpoints as their owners want them, deliveries in lanes, and a log of each attempt."""

from alembic import op

revision = "webhooks_001"
down_revision = None
branch_labels = ("webhooks",)
depends_on = None

_TABLES = """
CREATE TABLE endpoints (
    endpoint_id text COLLATE "C" PRIMARY KEY,
    owner text NOT NULL,
    url text NOT NULL,
    event_types text[] NOT NULL,
    secret_versions int[] NOT NULL,          -- the secrets themselves are derived, and stored nowhere
    revision int NOT NULL,
    deleted bool NOT NULL,
    changed_at timestamptz NOT NULL
);
CREATE INDEX endpoints_by_owner ON endpoints (owner);

CREATE TABLE deliveries (
    delivery_id uuid PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    endpoint_id text COLLATE "C" NOT NULL REFERENCES endpoints,
    lane text COLLATE "C" NOT NULL,
    event_id uuid NOT NULL,
    event_type text NOT NULL,
    body bytea NOT NULL,
    state text NOT NULL CHECK (state IN ('due', 'waiting', 'sending', 'delivered', 'given_up', 'cancelled')),
    created_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    attempt_no int NOT NULL DEFAULT 0,       -- of all attempts; only the last one's end counts
    tries int NOT NULL DEFAULT 0,            -- since it was first sent, or sent again by hand
    lease_until timestamptz,
    ended_at timestamptz
) WITH (fillfactor = 80);
CREATE INDEX deliveries_due ON deliveries (endpoint_id, due_at) WHERE state = 'due';
CREATE INDEX deliveries_leased ON deliveries (lease_until) WHERE state = 'sending';
CREATE INDEX deliveries_busy ON deliveries (endpoint_id, lane, seq) WHERE state IN ('due', 'waiting', 'sending');
CREATE INDEX deliveries_newest ON deliveries (endpoint_id, seq);

CREATE TABLE attempts (
    delivery_id uuid NOT NULL REFERENCES deliveries,
    attempt_no int NOT NULL,
    at timestamptz NOT NULL,
    took_ms int,
    status int,                              -- HTTP; NULL where there was no reply
    error text,                              -- NULL where it was delivered
    reply text,                              -- its first characters
    PRIMARY KEY (delivery_id, attempt_no)
);
"""

_RIGHTS = """
REVOKE DELETE ON endpoints, deliveries FROM tally_webhooks;
REVOKE UPDATE, DELETE ON attempts FROM tally_webhooks;
"""

_VIEWS = """
CREATE VIEW endpoint_view AS
SELECT endpoint_id, owner, url, event_types, secret_versions, revision, deleted, changed_at FROM endpoints;

CREATE VIEW delivery_view AS
SELECT d.delivery_id, d.seq, d.endpoint_id, e.owner, d.lane, d.event_id, d.event_type, d.body, d.state, d.created_at,
       CASE WHEN d.state IN ('due', 'waiting', 'sending') THEN d.due_at END AS due_at, d.attempt_no AS attempts, d.lease_until,
       d.ended_at
FROM deliveries d JOIN endpoints e USING (endpoint_id);

CREATE VIEW attempt_view AS SELECT delivery_id, attempt_no, at, took_ms, status, error, reply FROM attempts;

GRANT SELECT ON endpoint_view, delivery_view, attempt_view TO tally_webhooks_read;
"""


def upgrade() -> None:
    op.execute(_TABLES)
    op.execute(_RIGHTS)
    op.execute(_VIEWS)


def downgrade() -> None:
    op.execute("DROP VIEW attempt_view, delivery_view, endpoint_view")
    op.execute("DROP TABLE attempts, deliveries, endpoints")
