"""How much of its fee goes back is a rule of the order's terms: the auditor reads it. A check may end contradicted."""

from alembic import op

revision = "executor_006"
down_revision = "executor_005"
branch_labels = None
depends_on = None

FEE_RULE_VIEW = """
CREATE VIEW fee_rule_view AS
SELECT payment_order_id, coalesce(placed ->> 'fee_refund', 'proportional') AS fee_refund,
       coalesce(placed ->> 'fee_chargeback', 'none') AS fee_chargeback
  FROM (SELECT payment_order_id, convert_from(placed, 'UTF8')::json AS placed FROM attempts) AS a;
GRANT SELECT ON fee_rule_view TO tally_executor_read;
"""

CHECKING = """
ALTER TABLE {table}
    DROP CONSTRAINT {table}_checking_check,
    ADD CONSTRAINT {table}_checking_check CHECK (checking IN ('open', 'again', 'unanswered', 'contradicted'));
"""


def upgrade() -> None:
    op.execute(FEE_RULE_VIEW)
    for table in ("operations", "disputes"):
        op.execute(CHECKING.format(table=table))


def downgrade() -> None:
    op.execute("DROP VIEW fee_rule_view")
