"""What a settlement keeps, and its pay-outs by the bank's references; whether a repeated line is the same; groups of breaks."""

from alembic import op

revision = "reconciliation_004"
down_revision = "reconciliation_003"
branch_labels = None
depends_on = None


PAYOUTS = """
ALTER TABLE settlement_claims ADD COLUMN kept bigint NOT NULL DEFAULT 0;  -- as much of `paid` as stays at the PSP
ALTER TABLE settlement_claims ADD COLUMN payouts jsonb NOT NULL DEFAULT '[]';  -- [the bank's reference, minor units]
ALTER TABLE settlements ADD COLUMN paid jsonb NOT NULL DEFAULT '{}';  -- the bank's reference, or "" → minor units
UPDATE settlements s SET paid = jsonb_build_object('', (booked->>('bank_clearing ' || currency))::bigint)
WHERE booked ? ('bank_clearing ' || currency)
    AND NOT EXISTS (SELECT 1 FROM settlement_claims c WHERE c.settlement_no = s.settlement_no AND c.opening IS NOT NULL);
CREATE OR REPLACE VIEW settlement_view AS
SELECT settlement_no, source, settlement, currency, psp, revision, booked, ties, to_settle, changed_at, paid FROM settlements;
"""
FORMER = """
DROP VIEW settlement_view;
CREATE VIEW settlement_view AS
SELECT settlement_no, source, settlement, currency, psp, revision, booked, ties, to_settle, changed_at FROM settlements;
GRANT SELECT ON settlement_view TO tally_reconciliation_read;
ALTER TABLE settlements DROP COLUMN paid;
ALTER TABLE settlement_claims DROP COLUMN payouts;
ALTER TABLE settlement_claims DROP COLUMN kept;
"""


def upgrade() -> None:
    op.execute(PAYOUTS)
    op.execute(
        "ALTER TABLE repeated_lines ADD COLUMN same boolean NOT NULL DEFAULT false"
    )  # as the one that is counted
    op.execute("CREATE INDEX repeated_lines_by_file ON repeated_lines (file_no, counted_file_no)")
    op.execute("ALTER TABLE break_items ADD COLUMN group_id uuid")  # the break that takes it if there are too many
    op.execute("CREATE INDEX break_items_by_group ON break_items (group_id) WHERE closed_at IS NULL")
    op.execute("ALTER TABLE unmatched ADD COLUMN together boolean NOT NULL DEFAULT false")  # paired as one of several
    op.execute("CREATE INDEX unmatched_by_pair ON unmatched (psp, currency, pair)")
    op.execute("CREATE INDEX files_by_day ON files (last_day)")


def downgrade() -> None:
    op.execute(FORMER)
    op.execute("DROP INDEX files_by_day")
    op.execute("DROP INDEX unmatched_by_pair")
    op.execute("ALTER TABLE unmatched DROP COLUMN together")
    op.execute("DROP INDEX break_items_by_group")
    op.execute("ALTER TABLE break_items DROP COLUMN group_id")
    op.execute("DROP INDEX repeated_lines_by_file")
    op.execute("ALTER TABLE repeated_lines DROP COLUMN same")
