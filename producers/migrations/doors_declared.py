"""Two persons may set aside what is settled: a declined charge was captured, a captured one has failed."""

from alembic import op

revision = "doors_declared"
down_revision = "doors_break_work"
branch_labels = None
depends_on = None

OUTCOMES = "'succeeded', 'failed', 'submitted', 'delivered', 'not_delivered'"
CHECK = """
ALTER TABLE proposals DROP CONSTRAINT proposals_outcome_check,
    ADD CONSTRAINT proposals_outcome_check CHECK (outcome IN ({outcomes}));
"""


def upgrade() -> None:
    op.execute(CHECK.format(outcomes=f"{OUTCOMES}, 'declare_captured', 'declare_failed'"))


def downgrade() -> None:
    op.execute(CHECK.format(outcomes=OUTCOMES))
