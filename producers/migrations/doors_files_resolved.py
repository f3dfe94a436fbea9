"""A file for a bank is a subject of what two persons say: it was delivered, or not."""

from alembic import op

revision = "doors_files_resolved"
down_revision = "doors_bank_status_files"
branch_labels = None
depends_on = None

CHECK = """
ALTER TABLE proposals DROP CONSTRAINT proposals_outcome_check,
    ADD CONSTRAINT proposals_outcome_check CHECK (outcome IN ({outcomes}));
"""
OF_CALLS = "'succeeded', 'failed', 'submitted'"


def upgrade() -> None:
    op.execute(CHECK.format(outcomes=f"{OF_CALLS}, 'delivered', 'not_delivered'"))


def downgrade() -> None:
    op.execute("DELETE FROM proposals WHERE kind = 'bank_file'")
    op.execute(CHECK.format(outcomes=OF_CALLS))
