"""What two persons have said of a pay-out: whether it was believed, and whether they have named the transfer."""

from alembic import op

revision = "executor_008"
down_revision = "executor_007"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE payouts
    ADD COLUMN named_by_persons boolean NOT NULL DEFAULT false,  -- provider_reference
    ADD COLUMN resolution text CHECK (resolution IN ('asked', 'believed', 'refused')),  -- of their "failed"
    ADD COLUMN resolution_code text,
    ADD CONSTRAINT refused_with_a_code CHECK ((resolution IS NOT DISTINCT FROM 'refused') = (resolution_code IS NOT NULL))
"""
VIEW = """
CREATE OR REPLACE VIEW payout_view AS
SELECT payout_id, seller_account, owner, release_no, call_id, provider, bank_account, state, turn, withdrawn,
       amount_minor, currency, returned_minor, code, provider_reference, checks, checking, cause_event_id,
       outcome_event_id, outcome_place, created_at, changed_at, revision, named_by_persons, resolution, resolution_code
FROM payouts
"""
VIEW_BEFORE = """
CREATE VIEW payout_view AS
SELECT payout_id, seller_account, owner, release_no, call_id, provider, bank_account, state, turn, withdrawn,
       amount_minor, currency, returned_minor, code, provider_reference, checks, checking, cause_event_id,
       outcome_event_id, outcome_place, created_at, changed_at, revision
FROM payouts;
GRANT SELECT ON payout_view TO tally_executor_read;
"""


def upgrade() -> None:
    op.execute(COLUMNS)
    op.execute("ALTER TABLE payouts ALTER COLUMN named_by_persons DROP DEFAULT")
    op.execute(VIEW)


def downgrade() -> None:
    op.execute("DROP VIEW payout_view")
    op.execute(VIEW_BEFORE)
    op.execute("ALTER TABLE payouts DROP COLUMN named_by_persons, DROP COLUMN resolution, DROP COLUMN resolution_code")
