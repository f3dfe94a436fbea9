"""Sellers, each its owner's, and who has changed what of them."""

from alembic import op

revision = "doors_sellers"
down_revision = "doors_operations"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE sellers (
    seller_account text COLLATE "C" PRIMARY KEY,
    owner text COLLATE "C" NOT NULL,
    revision int NOT NULL,
    settings jsonb NOT NULL,                 -- what was set; name and country stay here
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL
);
CREATE INDEX sellers_by_owner ON sellers (owner, seller_account);

CREATE TABLE seller_history (
    seller_account text COLLATE "C" NOT NULL,
    revision int NOT NULL,
    changed_by text NOT NULL,
    reason text,
    at timestamptz NOT NULL,
    before jsonb,                            -- NULL: it was registered by this
    after jsonb NOT NULL,
    PRIMARY KEY (seller_account, revision)
);
REVOKE DELETE ON sellers FROM tally_doors;
REVOKE UPDATE, DELETE ON seller_history FROM tally_doors;

CREATE VIEW seller_view AS
SELECT seller_account, owner, revision, settings - 'name' - 'country' AS terms, changed_at FROM sellers;
-- Who reads views has no use for names.
CREATE VIEW seller_history_view AS
SELECT seller_account, revision, changed_by, reason, at, before - 'name' - 'country' AS before,
       after - 'name' - 'country' AS after
  FROM seller_history;
GRANT SELECT ON seller_view, seller_history_view TO tally_doors_read;
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute("DROP VIEW seller_history_view, seller_view")
    op.execute("DROP TABLE seller_history, sellers")
