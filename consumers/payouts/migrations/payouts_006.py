"""Sellers whose pay-outs wait, since wallet and ledger do not agree about them."""

from alembic import op

revision = "payouts_006"
down_revision = "payouts_005"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE holds (
    break_id text COLLATE "C",
    seller_account text COLLATE "C",
    code text NOT NULL,
    revision integer NOT NULL,  -- of the break: an older one says nothing
    is_open boolean NOT NULL,
    since timestamptz NOT NULL,
    heard_at timestamptz NOT NULL,
    PRIMARY KEY (seller_account, break_id)
);
CREATE VIEW hold_view AS SELECT break_id, seller_account, code, revision, is_open, since, heard_at FROM holds;
GRANT SELECT ON hold_view TO tally_payouts_read;
REVOKE DELETE ON holds FROM tally_payouts;
"""


def upgrade() -> None:
    op.execute(TABLE)


def downgrade() -> None:
    op.execute("DROP VIEW hold_view")
    op.execute("DROP TABLE holds")
