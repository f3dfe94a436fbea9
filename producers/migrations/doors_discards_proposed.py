"""A file that counts is discarded by two persons: the first proposes it."""

from alembic import op

revision = "doors_discards_proposed"
down_revision = "doors_settlement_files"
branch_labels = None
depends_on = None

CHECKS = """
ALTER TABLE file_decisions DROP CONSTRAINT file_decisions_decision_check, DROP CONSTRAINT file_decisions_check,
    ADD CONSTRAINT file_decisions_decision_check CHECK (decision IN ({decisions})),
    ADD CONSTRAINT file_decisions_check CHECK ((decision IN ({proposals})) = (event_id IS NULL));
"""


def upgrade() -> None:
    proposals = "'release_proposed', 'discard_proposed'"
    op.execute(CHECKS.format(decisions=f"{proposals}, 'released', 'discarded'", proposals=proposals))


def downgrade() -> None:
    op.execute("DELETE FROM file_decisions WHERE decision = 'discard_proposed'")
    proposals = "'release_proposed'"
    op.execute(CHECKS.format(decisions=f"{proposals}, 'released', 'discarded'", proposals=proposals))
