"""What persons do about breaks: who works one, what is proposed, and the corrections that came of it."""

from alembic import op

revision = "reconciliation_people"
down_revision = "reconciliation_archive"
branch_labels = None
depends_on = None

# `state` says whether the condition holds; `work` how far persons are. What is proposed is kept as it was computed.
BREAKS = """
ALTER TABLE breaks
    ADD work text NOT NULL DEFAULT 'open'
        CHECK (work IN ('open', 'assigned', 'proposed', 'approved', 'resolved', 'auto_closed')),
    ADD assignee text,
    ADD proposal jsonb,
    ADD worked_amount bigint,  -- the break's when it was resolved: by another one it is open again
    ADD CHECK ((work = 'proposed') = (proposal IS NOT NULL));
UPDATE breaks SET work = 'auto_closed' WHERE state = 'closed';
ALTER TABLE break_actions ADD operation_id text;
CREATE UNIQUE INDEX break_actions_by_operation ON break_actions (operation_id) WHERE operation_id IS NOT NULL;
"""

# One row for each thing that persons have agreed to do to tallies or books; nothing of it is ever changed. What is undone has a
# second one, which names it.
CORRECTIONS = """
CREATE TABLE corrections (
    correction_id uuid PRIMARY KEY,
    break_id uuid NOT NULL,
    kind text NOT NULL,
    undoes uuid UNIQUE,
    event_id uuid,  -- of CorrectionApproved; NULL: no money moves
    entries jsonb NOT NULL,  -- [account, direction, minor units, currency]
    movements jsonb NOT NULL,  -- [seller, minor units, currency]
    reason text NOT NULL,
    maker text NOT NULL,
    approver text NOT NULL,
    sha256 text NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX corrections_by_break ON corrections (break_id);

-- By how much each changes what is expected of a tally.
CREATE TABLE correction_facts (
    correction_id uuid NOT NULL,
    key uuid NOT NULL,
    kind text NOT NULL,
    currency text NOT NULL,
    psp text NOT NULL,
    amount bigint NOT NULL,
    PRIMARY KEY (correction_id, key, kind, currency, psp)
);
CREATE INDEX correction_facts_by_tally ON correction_facts (key, kind, psp);
REVOKE UPDATE, DELETE ON corrections, correction_facts FROM tally_reconciliation;
"""

VIEWS = """
CREATE OR REPLACE VIEW break_view AS
SELECT break_id::text AS break_id, code, subject, class, state, source, psp, currency, amount, items, detail, opened_at,
       changed_at, revision, work, assignee, proposal
  FROM breaks;
CREATE OR REPLACE VIEW break_action_view AS
SELECT break_id::text AS break_id, revision, action, actor, at, detail, operation_id FROM break_actions;
CREATE VIEW correction_view AS
SELECT correction_id, break_id, kind, undoes, event_id, entries, movements, reason, maker, approver, sha256, at FROM corrections;
CREATE VIEW correction_fact_view AS
SELECT correction_id, psp, kind, key, currency, amount FROM correction_facts;
GRANT SELECT ON correction_view, correction_fact_view TO tally_reconciliation_read;
"""

GONE = """
DROP VIEW correction_fact_view, correction_view, break_action_view, break_view;
DROP TABLE correction_facts, corrections;
DROP INDEX break_actions_by_operation;
ALTER TABLE break_actions DROP operation_id;
ALTER TABLE breaks DROP work, DROP assignee, DROP proposal, DROP worked_amount;
CREATE VIEW break_view AS
SELECT break_id::text AS break_id, code, subject, class, state, source, psp, currency, amount, items, detail, opened_at,
       changed_at, revision
  FROM breaks;
CREATE VIEW break_action_view AS
SELECT break_id::text AS break_id, revision, action, actor, at, detail FROM break_actions;
GRANT SELECT ON break_view, break_action_view TO tally_reconciliation_read;
"""


def upgrade() -> None:
    for part in (BREAKS, CORRECTIONS, VIEWS):
        op.execute(part)


def downgrade() -> None:
    op.execute(GONE)
