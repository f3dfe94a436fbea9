"""Letters that wait, found without reading those that are done: looked for every half minute by each process."""

from alembic import op

revision = "runtime_003"
down_revision = "runtime_002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX parked_waiting ON parked (seq) WHERE state IN ('parked', 'dead')")
