"""What a provider is told to send, where a pay-out is converted: another amount than the wallet's."""

from alembic import op

revision = "executor_010"
down_revision = "executor_009"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE payouts
    ADD COLUMN sent_minor bigint CHECK (sent_minor > 0),
    ADD COLUMN sent_currency text,
    ADD COLUMN cost_minor bigint CHECK (cost_minor BETWEEN 1 AND amount_minor);  -- of what is sent; NULL: not converted
UPDATE payouts SET sent_minor = amount_minor, sent_currency = currency;
ALTER TABLE payouts
    ALTER COLUMN sent_minor SET NOT NULL,
    ALTER COLUMN sent_currency SET NOT NULL,
    ADD CONSTRAINT converted_at_a_cost CHECK ((sent_currency <> currency) = (cost_minor IS NOT NULL)),
    ADD CONSTRAINT sent_as_it_is CHECK (cost_minor IS NOT NULL OR sent_minor = amount_minor);
COMMENT ON COLUMN payouts.returned_minor IS 'of sent_currency';
"""
# A view's new columns come last.
_VIEW = """
SELECT payout_id, seller_account, owner, release_no, call_id, provider, bank_account, state, turn, withdrawn,
       amount_minor, currency, returned_minor, code, provider_reference, checks, checking, cause_event_id,
       outcome_event_id, outcome_place, created_at, changed_at, revision, named_by_persons, resolution, resolution_code{more}
FROM payouts
"""


def upgrade() -> None:
    op.execute(COLUMNS)
    op.execute("CREATE OR REPLACE VIEW payout_view AS" + _VIEW.format(more=", sent_minor, sent_currency, cost_minor"))


def downgrade() -> None:
    op.execute("DROP VIEW payout_view")
    op.execute("CREATE VIEW payout_view AS" + _VIEW.format(more=""))
    op.execute("GRANT SELECT ON payout_view TO tally_executor_read")
    op.execute("COMMENT ON COLUMN payouts.returned_minor IS NULL")
    op.execute("ALTER TABLE payouts DROP sent_minor, DROP sent_currency, DROP cost_minor")
