"""Tallies by their key, as an index finds them, for those who explain one."""

from alembic import op

revision = "reconciliation_lookup"
down_revision = "reconciliation_001"
branch_labels = None
depends_on = None

# `key::text` of tally_view is no indexed column.
VIEW = """
CREATE VIEW tally_by_key_view AS
SELECT key, kind, currency, psp, expected, cardinality(facts) AS facts, settled, fee, fee_expected, due, outcome,
       payment_order_id, seller, digests, lines
  FROM tallies;
GRANT SELECT ON tally_by_key_view TO tally_reconciliation_read;
"""


def upgrade() -> None:
    op.execute(VIEW)


def downgrade() -> None:
    op.execute("DROP VIEW tally_by_key_view")
