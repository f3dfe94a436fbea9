"""A release for a bank names the cut-off at which it leaves."""

from alembic import op

revision = "payouts_005"
down_revision = "payouts_004"
branch_labels = None
depends_on = None

_VIEW = """
CREATE VIEW release_view AS
SELECT payout_id, release_no, provider, bank_account, released_at, deadline, cleared_at, fresh_until, approvals_needed,
       approvals, outcome, code, outcome_at, event_id, target, rate, spread_bps, cost{more}
  FROM releases;
GRANT SELECT ON release_view TO tally_payouts_read;
"""


def upgrade() -> None:
    op.execute("ALTER TABLE releases ADD cut_off timestamptz")
    op.execute(_VIEW.format(more=", cut_off").replace("CREATE VIEW", "CREATE OR REPLACE VIEW"))


def downgrade() -> None:
    op.execute("DROP VIEW release_view")
    op.execute(_VIEW.format(more=""))
    op.execute("ALTER TABLE releases DROP cut_off")
