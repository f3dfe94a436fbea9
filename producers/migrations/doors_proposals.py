"""What one person proposes and another approves: what became of a call that a PSP could not say."""

from alembic import op

revision = "doors_proposals"
down_revision = "doors_payouts"
branch_labels = None
depends_on = None

# `event` is fixed when it is proposed: the second person approves what the first one has written.
TABLE = """
CREATE TABLE proposals (
    proposal_id text PRIMARY KEY,
    call_id text NOT NULL,
    kind text NOT NULL,                      -- of the call
    subject text NOT NULL,                   -- its payment order or pay-out
    outcome text NOT NULL CHECK (outcome IN ('succeeded', 'failed', 'submitted')),
    event_type text NOT NULL,
    event jsonb NOT NULL,
    evidence text NOT NULL,
    reason text NOT NULL,
    proposed_by text NOT NULL,
    proposed_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'approved', 'rejected', 'expired')),
    decided_by text,
    decided_at timestamptz,
    decision_reason text,
    event_id uuid,                           -- of the event on psp-notifications.v1
    CHECK ((state = 'approved') = (event_id IS NOT NULL)),
    CHECK ((state IN ('approved', 'rejected')) = (decided_by IS NOT NULL)),
    CONSTRAINT two_persons CHECK (state <> 'approved' OR lower(decided_by) <> lower(proposed_by))
);
CREATE UNIQUE INDEX proposals_waiting ON proposals (call_id) WHERE state = 'waiting';
CREATE INDEX proposals_newest ON proposals (proposed_at, proposal_id);
REVOKE DELETE ON proposals FROM tally_doors;

CREATE VIEW proposal_view AS
SELECT proposal_id, call_id, kind, subject, outcome, event_type, event, evidence, reason, proposed_by, proposed_at,
       expires_at, state, decided_by, decided_at, decision_reason, event_id
  FROM proposals;
GRANT SELECT ON proposal_view TO tally_doors_read;
"""


def upgrade() -> None:
    op.execute(TABLE)


def downgrade() -> None:
    op.execute("DROP VIEW proposal_view")
    op.execute("DROP TABLE proposals")
