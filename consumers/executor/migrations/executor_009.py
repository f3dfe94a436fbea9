"""What two persons say of a charge, capture, void or refund: whether they have named it, and a check that confirms their yes.

A charge that is asked about before it is captured has two rows with the number 0: its own, and its capture's.
"""

from alembic import op

revision = "executor_009"
down_revision = "executor_008"
branch_labels = None
depends_on = None

COLUMN = "ALTER TABLE operations ADD COLUMN named_by_persons boolean NOT NULL DEFAULT false"  # psp_reference
CHECKING = """
ALTER TABLE operations
    DROP CONSTRAINT operations_checking_check,
    ADD CONSTRAINT operations_checking_check CHECK (checking IN ({states}))
"""
NUMBERS = """
ALTER TABLE operations
    DROP CONSTRAINT operations_payment_order_id_seq_key,
    ADD CONSTRAINT operations_payment_order_id_seq_key UNIQUE (payment_order_id, seq{kind})
"""
STATES = "'open', 'again', 'unanswered', 'contradicted'"
COLUMNS = """
SELECT o.payment_order_id, a.checkout_id, kind, operation_id, seq, amount_minor, fee_minor, amount_minor - fee_minor AS
       net_minor, a.currency, final, o.state, turn, o.call_id, o.psp, o.code, o.psp_reference, checks, checking,
       o.cause_event_id, o.outcome_event_id, outcome_place, placed_at, o.changed_at, o.revision{more}
FROM operations o JOIN attempts a USING (payment_order_id)
"""


def upgrade() -> None:
    op.execute(COLUMN)
    op.execute("ALTER TABLE operations ALTER COLUMN named_by_persons DROP DEFAULT")
    op.execute(CHECKING.format(states=STATES + ", 'confirming'"))
    op.execute(NUMBERS.format(kind=", kind"))
    op.execute("CREATE OR REPLACE VIEW operation_view AS" + COLUMNS.format(more=", named_by_persons"))


def downgrade() -> None:
    op.execute("DROP VIEW operation_view")
    op.execute("CREATE VIEW operation_view AS" + COLUMNS.format(more=""))
    op.execute("GRANT SELECT ON operation_view TO tally_executor_read")
    op.execute(
        "DELETE FROM operations c USING operations o WHERE o.payment_order_id = c.payment_order_id AND o.seq = c.seq"
        " AND c.kind = 'charge' AND o.kind = 'capture'"
    )
    op.execute(NUMBERS.format(kind=""))
    op.execute("UPDATE operations SET checking = 'open' WHERE checking = 'confirming'")
    op.execute(CHECKING.format(states=STATES))
    op.execute("ALTER TABLE operations DROP COLUMN named_by_persons")
