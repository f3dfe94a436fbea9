"""Dead letters for operators: every attempt, an edit that a second person approves, and narrower rights for their role."""

from alembic import context, op

revision = "runtime_002"
down_revision = "runtime_001"
branch_labels = None
depends_on = None

LETTERS = """
ALTER TABLE parked
    ADD COLUMN tried jsonb NOT NULL DEFAULT '[]',  -- every failed attempt: at, code, error, replays
    ADD COLUMN edit bytea,                         -- a corrected value, beside the original
    ADD COLUMN edited_by text,
    ADD COLUMN edited_at timestamptz,
    ADD COLUMN approved_by text,                   -- from then on the edit is what is tried
    ADD CONSTRAINT parked_edit_has_a_maker CHECK ((edit IS NULL) = (edited_by IS NULL)),
    ADD CONSTRAINT parked_two_persons CHECK (approved_by IS NULL OR approved_by <> edited_by);

-- In the order in which the drain takes them: a backlog that became due at one instant is not sorted again and again.
DROP INDEX parked_due;
CREATE INDEX parked_due ON parked (due_at, seq) WHERE state = 'parked';
"""


def upgrade() -> None:
    room = context.config.attributes["schema"]
    op.execute(LETTERS)
    op.execute("REVOKE UPDATE ON parked, stops FROM tally_ops")
    op.execute(
        "GRANT UPDATE (state, holds, rung, replays, due_at, ended_at, edit, edited_by, edited_at, approved_by)"
        " ON parked TO tally_ops"
    )
    op.execute("GRANT INSERT ON parked, inbox TO tally_ops")  # to rebuild the index from the dead-letter topic
    op.execute("GRANT UPDATE (lifted_at, lifted_by, messages) ON stops TO tally_ops")
    op.execute(f"REVOKE TRUNCATE, TRIGGER ON ops_audit FROM tally_{room}, tally_ops")
