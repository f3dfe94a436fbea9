"""Everybody who has changed the destination of a pay-out lately is a maker of it, not the last one alone."""

from alembic import op

revision = "payouts_003"
down_revision = "payouts_002"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE payouts ADD destination_changers json NOT NULL DEFAULT '[]';
CREATE INDEX payouts_vouching ON payouts (seller_account, destination_fingerprint, received_at)
    WHERE ended IN ('submitted', 'paid') AND json_array_length(approved_by) > 0;
"""

# A view's new columns come last.
_VIEW = """
CREATE VIEW payout_view AS
SELECT payout_id, owner, seller_account, status, code AS detail, currency, coalesce(amount, asked) AS amount,
       asked IS NULL AS is_all, minimum, keep, destination_type, destination_country, destination_masked,
       destination_fingerprint, sha256, description, requested_by, destination_changed_by, received_at, changed_at,
       screen_no, risk, cleared_at, reserve, reserved_at, approvals_needed,
       json_array_length(approved_by) AS approvals_given, stop, stopped_by, release_no, released, withdrawn, doubt, ended,
       provider_reference, version, event_id{more}
  FROM payouts;
GRANT SELECT ON payout_view TO tally_payouts_read;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(_VIEW.format(more=", destination_changers").replace("CREATE VIEW", "CREATE OR REPLACE VIEW"))


def downgrade() -> None:
    op.execute("DROP VIEW payout_view")
    op.execute(_VIEW.format(more=""))
    op.execute("DROP INDEX payouts_vouching")
    op.execute("ALTER TABLE payouts DROP destination_changers")
