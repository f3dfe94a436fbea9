"""Pay-outs in another currency than the wallet's: what each release converts, and at which rate."""

from alembic import op

revision = "payouts_004"
down_revision = "payouts_003"
branch_labels = None
depends_on = None

# `target` is in minor units of payout_currency, `cost` in those of currency.
COLUMNS = """
ALTER TABLE payouts
    ADD payout_currency text CHECK (payout_currency <> currency),
    ADD target bigint CHECK (target > 0),
    ADD rate text,
    ADD CONSTRAINT converted CHECK ((target IS NULL) = (rate IS NULL) AND (target IS NULL OR payout_currency IS NOT NULL));
ALTER TABLE releases
    ADD target bigint CHECK (target > 0),
    ADD rate text,
    ADD spread_bps int,
    ADD cost bigint CHECK (cost > 0),
    ADD CONSTRAINT converted CHECK (num_nulls(target, rate, spread_bps, cost) IN (0, 4));
"""

# A view's new columns come last.
_VIEW = """
CREATE OR REPLACE VIEW payout_view AS
SELECT payout_id, owner, seller_account, status, code AS detail, currency, coalesce(amount, asked) AS amount,
       asked IS NULL AS is_all, minimum, keep, destination_type, destination_country, destination_masked,
       destination_fingerprint, sha256, description, requested_by, destination_changed_by, received_at, changed_at,
       screen_no, risk, cleared_at, reserve, reserved_at, approvals_needed,
       json_array_length(approved_by) AS approvals_given, stop, stopped_by, release_no, released, withdrawn, doubt, ended,
       provider_reference, version, event_id, destination_changers{more}
  FROM payouts;
GRANT SELECT ON payout_view TO tally_payouts_read;
"""
_RELEASES = """
CREATE OR REPLACE VIEW release_view AS
SELECT payout_id, release_no, provider, bank_account, released_at, deadline, cleared_at, fresh_until, approvals_needed,
       approvals, outcome, code, outcome_at, event_id{more}
  FROM releases;
GRANT SELECT ON release_view TO tally_payouts_read;
"""


def upgrade() -> None:
    op.execute(COLUMNS)
    op.execute(_VIEW.format(more=", payout_currency, target, rate"))
    op.execute(_RELEASES.format(more=", target, rate, spread_bps, cost"))


def downgrade() -> None:
    op.execute("DROP VIEW payout_view, release_view")
    op.execute(_VIEW.format(more=""))
    op.execute(_RELEASES.format(more=""))
    op.execute("ALTER TABLE payouts DROP payout_currency, DROP target, DROP rate")
    op.execute("ALTER TABLE releases DROP target, DROP rate, DROP spread_bps, DROP cost")
