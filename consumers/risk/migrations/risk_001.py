"""Lists of names by version, and what was decided on each checkout."""

from alembic import op

revision = "risk_001"
down_revision = None
branch_labels = ("risk",)
depends_on = None

_TABLES = """
CREATE TABLE lists (
    name text NOT NULL,
    version text NOT NULL,
    names int NOT NULL,
    current bool NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, version)
);

CREATE TABLE list_names (
    name text NOT NULL,
    list_name text NOT NULL,
    list_version text NOT NULL,
    PRIMARY KEY (name, list_name, list_version)
);

CREATE TABLE screenings (
    checkout_id text PRIMARY KEY,
    buyer_account text NOT NULL,
    decided_at timestamptz NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('cleared', 'refused')),
    rule text NOT NULL,
    list_version text NOT NULL,
    score smallint NOT NULL CHECK (score BETWEEN 0 AND 100),
    event_id uuid NOT NULL
);

CREATE INDEX screenings_by_buyer ON screenings (buyer_account, decided_at);
"""

_APPEND_ONLY = """
REVOKE UPDATE, DELETE ON list_names, screenings FROM tally_risk;
REVOKE DELETE ON lists FROM tally_risk;
"""

_VIEWS = """
CREATE VIEW screening_view AS
SELECT checkout_id, buyer_account, decided_at, outcome, rule, list_version, score, event_id FROM screenings;

CREATE VIEW list_view AS SELECT name, version, names, current, loaded_at FROM lists;

GRANT SELECT ON screening_view, list_view TO tally_risk_read;
"""


def upgrade() -> None:
    op.execute(_TABLES)
    op.execute(_APPEND_ONLY)
    op.execute(_VIEWS)


def downgrade() -> None:
    op.execute("DROP VIEW screening_view, list_view")
    op.execute("DROP TABLE lists, list_names, screenings")
