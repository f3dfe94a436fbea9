"""Which part of its order a journal is about, for readers."""

from alembic import op

revision = "ledger_003"
down_revision = "ledger_002"
branch_labels = None
depends_on = None

_JOURNAL = """
SELECT journal_id, template, subject_id AS payment_order_id, checkout_id, cause_event_id,
    cardinality(account_ids) AS lines, posted_at{part}
FROM journals"""
_ENTRY = """
SELECT e.journal_id, e.line, a.account, e.currency, e.direction, e.amount,
    j.template, j.subject_id AS payment_order_id, j.checkout_id, j.cause_event_id, j.posted_at{part}
FROM journals j
CROSS JOIN LATERAL unnest(j.account_ids) WITH ORDINALITY AS l (account_id, line)
JOIN entries e ON e.account_id = l.account_id AND e.journal_id = j.journal_id AND e.line = l.line
JOIN accounts a ON a.account_id = e.account_id"""


def upgrade() -> None:
    """A view's new columns come last."""
    op.execute(f"CREATE OR REPLACE VIEW journal_view AS {_JOURNAL.format(part=', part')}")
    op.execute(f"CREATE OR REPLACE VIEW entry_view AS {_ENTRY.format(part=', j.part')}")


def downgrade() -> None:
    op.execute("DROP VIEW journal_view")
    op.execute("DROP VIEW entry_view")
    op.execute(f"CREATE VIEW journal_view AS {_JOURNAL.format(part='')}")
    op.execute(f"CREATE VIEW entry_view AS {_ENTRY.format(part='')}")
    op.execute("GRANT SELECT ON journal_view, entry_view TO tally_ledger_read")
