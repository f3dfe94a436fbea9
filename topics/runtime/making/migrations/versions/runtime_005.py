"""Letters are found by the id that they claim: a claim is kept for as long as its letter is."""

from alembic import op

revision = "runtime_005"
down_revision = "runtime_004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX parked_event ON parked (event_id)")
