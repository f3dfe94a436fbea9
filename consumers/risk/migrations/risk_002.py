"""Screenings that are held for a person, and the reviews of them."""

from alembic import op

revision = "risk_002"
down_revision = "risk_001"
branch_labels = None
depends_on = None

_TABLES = """
ALTER TABLE screenings DROP CONSTRAINT screenings_outcome_check,
    ADD CONSTRAINT screenings_outcome_check CHECK (outcome IN ('cleared', 'refused', 'held')) NOT VALID;
ALTER TABLE screenings VALIDATE CONSTRAINT screenings_outcome_check;

CREATE TABLE holds (
    about text NOT NULL CHECK (about IN ('payment', 'buyer')),
    subject text NOT NULL,
    screen_no int NOT NULL CHECK (screen_no > 0),
    rule text NOT NULL,
    score smallint NOT NULL CHECK (score BETWEEN 0 AND 100),
    list_version text NOT NULL,
    buyer_account text NOT NULL,
    held_at timestamptz NOT NULL,
    PRIMARY KEY (about, subject, screen_no)
);
CREATE INDEX holds_by_time ON holds (held_at, subject);
CREATE INDEX holds_by_buyer ON holds (buyer_account);

CREATE TABLE reviews (
    event_id uuid PRIMARY KEY,
    about text NOT NULL,
    subject text NOT NULL,
    screen_no int NOT NULL,
    decision text NOT NULL CHECK (decision IN ('clear', 'refuse')),
    actor text NOT NULL,
    reason text NOT NULL,
    reviewed_at timestamptz NOT NULL,
    counts bool NOT NULL,
    FOREIGN KEY (about, subject, screen_no) REFERENCES holds
);
CREATE UNIQUE INDEX reviews_counted ON reviews (about, subject, screen_no) WHERE counts;
CREATE INDEX reviews_by_screening ON reviews (about, subject, screen_no);
"""

_APPEND_ONLY = "REVOKE UPDATE, DELETE ON holds, reviews FROM tally_risk"

_VIEWS = """
CREATE VIEW hold_view AS
SELECT h.about, h.subject, h.screen_no, h.rule, h.score, h.list_version, h.buyer_account, h.held_at,
       r.decision, r.actor, r.reason, r.reviewed_at
  FROM holds h LEFT JOIN reviews r
    ON r.about = h.about AND r.subject = h.subject AND r.screen_no = h.screen_no AND r.counts;

CREATE VIEW review_view AS
SELECT event_id, about, subject, screen_no, decision, actor, reason, reviewed_at, counts FROM reviews;

GRANT SELECT ON hold_view, review_view TO tally_risk_read;
"""


def upgrade() -> None:
    op.execute(_TABLES)
    op.execute(_APPEND_ONLY)
    op.execute(_VIEWS)


def downgrade() -> None:
    op.execute("DROP VIEW hold_view, review_view")
    op.execute("DROP TABLE reviews, holds")
    op.execute("DELETE FROM screenings WHERE outcome = 'held'")
    op.execute(
        "ALTER TABLE screenings DROP CONSTRAINT screenings_outcome_check,"
        " ADD CONSTRAINT screenings_outcome_check CHECK (outcome IN ('cleared', 'refused'))"
    )
