"""A call may be a pay-out's, or a question about one."""

from alembic import op

revision = "runtime_013"
down_revision = "runtime_012"
branch_labels = None
depends_on = None

KINDS = """
ALTER TABLE calls DROP CONSTRAINT calls_kind_check, ADD CONSTRAINT calls_kind_check CHECK (kind IN ({kinds}))
"""
BEFORE = ("charge", "capture", "void", "refund", "check")


def _allow(*kinds: str) -> None:
    op.execute(KINDS.format(kinds=", ".join(f"'{kind}'" for kind in kinds)))


def upgrade() -> None:
    _allow(*BEFORE, "payout", "payout_check")


def downgrade() -> None:
    _allow(*BEFORE)
