"""Where owners want to hear of their payments."""

from alembic import op

revision = "doors_webhook_endpoints"
down_revision = "doors_001"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE webhook_endpoints (
    endpoint_id text COLLATE "C" PRIMARY KEY,
    owner text NOT NULL,
    url text NOT NULL,
    event_types text[] NOT NULL,
    secret_versions int[] NOT NULL,          -- those that sign, the oldest first
    last_version int NOT NULL,               -- a version that was retired never comes back
    revision int NOT NULL,
    deleted bool NOT NULL DEFAULT false,     -- the id stays its owner's
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL
);
CREATE INDEX webhook_endpoints_by_owner ON webhook_endpoints (owner, endpoint_id);
"""


def upgrade() -> None:
    op.execute(TABLE)
    op.execute("REVOKE DELETE ON webhook_endpoints FROM tally_doors")


def downgrade() -> None:
    op.execute("DROP TABLE webhook_endpoints")
