"""Who claimed which capture, void or refund."""

from alembic import op

revision = "doors_operations"
down_revision = "doors_endpoint_leases"
branch_labels = None
depends_on = None

# Ids are ASCII: COLLATE "C" sorts them as Python does, and claims are always made in that order.
TABLE = """
CREATE TABLE operation_ids (
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('capture', 'void', 'refund')),
    id text COLLATE "C" NOT NULL,
    owner text NOT NULL,
    checkout_id text NOT NULL,
    payment_order_id text NOT NULL,
    reply bytea NOT NULL,                    -- the 202, to be given again
    accepted_at timestamptz NOT NULL,
    event_id uuid NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX operation_ids_by_order ON operation_ids (payment_order_id);
CREATE INDEX operation_ids_accepted_at ON operation_ids USING brin (accepted_at);

CREATE VIEW operation_id_view AS
SELECT kind, id AS operation_id, owner, checkout_id, payment_order_id, accepted_at, event_id FROM operation_ids;
"""


def upgrade() -> None:
    op.execute(TABLE)
    op.execute("REVOKE UPDATE, DELETE ON operation_ids FROM tally_doors")
    op.execute("GRANT SELECT ON operation_id_view TO tally_doors_read")


def downgrade() -> None:
    op.execute("DROP VIEW operation_id_view")
    op.execute("DROP TABLE operation_ids")
