"""Screenings of pay-outs; holds of pay-outs and sellers."""

from alembic import op

revision = "risk_004"
down_revision = "risk_003"
branch_labels = None
depends_on = None

_TABLES = """
ALTER TABLE holds DROP CONSTRAINT holds_about_check,
    ADD CONSTRAINT holds_about_check CHECK (about IN ('payment', 'buyer', 'payout', 'seller')),
    ALTER COLUMN buyer_account DROP NOT NULL,
    ADD COLUMN seller_account text,
    ADD CONSTRAINT holds_account CHECK (num_nonnulls(buyer_account, seller_account) = 1);

CREATE TABLE payout_screenings (
    payout_id text NOT NULL,
    screen_no int NOT NULL CHECK (screen_no > 0),
    seller_account text NOT NULL,
    party text,                                   -- keyed hash of seller and holder; none where no name was screened
    decided_at timestamptz NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('cleared', 'refused', 'held')),
    rule text NOT NULL,
    list_version text NOT NULL,
    score smallint NOT NULL CHECK (score BETWEEN 0 AND 100),
    event_id uuid NOT NULL,
    PRIMARY KEY (payout_id, screen_no)
);
CREATE INDEX payout_screenings_by_party ON payout_screenings (party, decided_at);
REVOKE UPDATE, DELETE ON payout_screenings FROM tally_risk;
"""

_VIEWS = """
CREATE VIEW payout_screening_view AS
SELECT payout_id, screen_no, seller_account, decided_at, outcome, rule, list_version, score, event_id FROM payout_screenings;
GRANT SELECT ON payout_screening_view TO tally_risk_read;
"""

_HOLD_VIEW = """
CREATE {replace} VIEW hold_view AS
SELECT h.about, h.subject, h.screen_no, h.rule, h.score, h.list_version, h.buyer_account, h.held_at,
       r.decision, r.actor, r.reason, r.reviewed_at,
       coalesce((SELECT jsonb_agg(jsonb_build_object('list_name', n.list_name, 'entry_id', n.entry_id, 'listed_name',
                                  n.listed_name, 'score', n.score, 'content', n.content)
                                  ORDER BY n.score DESC, n.list_name, n.entry_id)
                   FROM hits n WHERE n.about = h.about AND n.subject = h.subject AND n.screen_no = h.screen_no), '[]') AS hits
       {more}
  FROM holds h LEFT JOIN reviews r
    ON r.about = h.about AND r.subject = h.subject AND r.screen_no = h.screen_no AND r.counts;
GRANT SELECT ON hold_view TO tally_risk_read;
"""


def upgrade() -> None:
    op.execute(_TABLES)
    op.execute(_VIEWS)
    op.execute(_HOLD_VIEW.format(replace="OR REPLACE", more=", h.seller_account"))


def downgrade() -> None:
    """Errors: a check violation where pay-outs or sellers were held: who reviewed them is kept for ever."""
    op.execute("DROP VIEW payout_screening_view, hold_view")
    op.execute("DROP TABLE payout_screenings")
    op.execute(
        "ALTER TABLE holds DROP COLUMN seller_account, ALTER COLUMN buyer_account SET NOT NULL,"
        " DROP CONSTRAINT holds_about_check,"
        " ADD CONSTRAINT holds_about_check CHECK (about IN ('payment', 'buyer'))"
    )
    op.execute(_HOLD_VIEW.format(replace="", more=""))
