"""A payment keeps the id of its trace, by which its request is found in the logs of who asked."""

from alembic import op

revision = "payments_003"
down_revision = "payments_002"
branch_labels = None
depends_on = None

VIEW = """
CREATE VIEW trace_view AS SELECT checkout_id, replace(trace::text, '-', '') AS trace FROM payments;
GRANT SELECT ON trace_view TO tally_payments_read;
"""


def upgrade() -> None:
    op.execute("ALTER TABLE payments ADD COLUMN trace uuid")  # as long as one: 32 hex digits
    op.execute(VIEW)
