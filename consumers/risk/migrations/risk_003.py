"""Sanctions lists with their entries; near names that a screening found; parties whose names a new list is screened against."""

from alembic import op

revision = "risk_003"
down_revision = "risk_002"
branch_labels = None
depends_on = None

_TABLES = """
ALTER TABLE lists ADD COLUMN source text NOT NULL DEFAULT 'settings' CHECK (source IN ('settings', 'import'));

CREATE TABLE imports (
    no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    list_name text NOT NULL,
    version text NOT NULL,
    published date,
    entries int NOT NULL,
    names int NOT NULL,
    added int NOT NULL,
    changed int NOT NULL,
    removed int NOT NULL,
    imported_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE list_entries (
    list_name text NOT NULL,
    entry_id text NOT NULL,
    content text NOT NULL,                        -- hash of what follows: a decision holds until it changes
    from_no bigint NOT NULL REFERENCES imports,
    until_no bigint REFERENCES imports,           -- the import that changed or removed it
    names jsonb NOT NULL,
    births jsonb NOT NULL,
    countries jsonb NOT NULL,
    programmes jsonb NOT NULL,
    PRIMARY KEY (list_name, entry_id, from_no)
);
CREATE INDEX list_entries_current ON list_entries (list_name, entry_id) WHERE until_no IS NULL;

CREATE TABLE hits (
    about text NOT NULL,
    subject text NOT NULL,
    screen_no int NOT NULL,
    list_name text NOT NULL,
    entry_id text NOT NULL,
    content text NOT NULL,
    listed_name text NOT NULL,                    -- the entry's name that was nearest
    score smallint NOT NULL CHECK (score BETWEEN 0 AND 100),
    party text NOT NULL,                          -- keyed hash of an account and a name
    PRIMARY KEY (about, subject, screen_no, list_name, entry_id),
    FOREIGN KEY (about, subject, screen_no) REFERENCES holds
);
CREATE INDEX hits_by_party ON hits (party, list_name, entry_id);

CREATE TABLE parties (
    party text PRIMARY KEY,                       -- as in hits
    about text NOT NULL CHECK (about IN ('buyer', 'seller')),
    account text NOT NULL,
    sealed bytea NOT NULL,                        -- the name; only risk opens it
    screened text NOT NULL                        -- the lists that it was last screened against
);
CREATE INDEX parties_by_screened ON parties (about, screened, party);
"""

_GRANTS = """
REVOKE UPDATE, DELETE ON imports, hits FROM tally_risk;
REVOKE INSERT, UPDATE, DELETE ON list_entries FROM tally_risk;
REVOKE DELETE ON parties FROM tally_risk;
GRANT SELECT, INSERT ON imports TO tally_ops;
GRANT SELECT, INSERT, UPDATE ON lists, list_entries TO tally_ops;
"""

_VIEWS = """
CREATE OR REPLACE VIEW hold_view AS
SELECT h.about, h.subject, h.screen_no, h.rule, h.score, h.list_version, h.buyer_account, h.held_at,
       r.decision, r.actor, r.reason, r.reviewed_at,
       coalesce((SELECT jsonb_agg(jsonb_build_object('list_name', n.list_name, 'entry_id', n.entry_id, 'listed_name',
                                  n.listed_name, 'score', n.score, 'content', n.content)
                                  ORDER BY n.score DESC, n.list_name, n.entry_id)
                   FROM hits n WHERE n.about = h.about AND n.subject = h.subject AND n.screen_no = h.screen_no), '[]') AS hits
  FROM holds h LEFT JOIN reviews r
    ON r.about = h.about AND r.subject = h.subject AND r.screen_no = h.screen_no AND r.counts;
CREATE OR REPLACE VIEW list_view AS SELECT name, version, names, current, loaded_at, source FROM lists;
CREATE VIEW import_view AS
SELECT no, list_name, version, published, entries, names, added, changed, removed, imported_at FROM imports;
CREATE VIEW list_entry_view AS
SELECT list_name, entry_id, content, from_no, until_no, names, births, countries, programmes FROM list_entries;
CREATE VIEW hit_view AS
SELECT about, subject, screen_no, list_name, entry_id, content, listed_name, score FROM hits;
CREATE VIEW party_view AS SELECT about, account, screened FROM parties;

GRANT SELECT ON import_view, list_entry_view, hit_view, party_view TO tally_risk_read;
"""


_HOLDS_BEFORE = """
CREATE VIEW hold_view AS
SELECT h.about, h.subject, h.screen_no, h.rule, h.score, h.list_version, h.buyer_account, h.held_at,
       r.decision, r.actor, r.reason, r.reviewed_at
  FROM holds h LEFT JOIN reviews r
    ON r.about = h.about AND r.subject = h.subject AND r.screen_no = h.screen_no AND r.counts;
GRANT SELECT ON hold_view TO tally_risk_read;
"""


def upgrade() -> None:
    op.execute(_TABLES)
    op.execute(_GRANTS)
    op.execute(_VIEWS)


def downgrade() -> None:
    op.execute("DROP VIEW import_view, list_entry_view, hit_view, party_view, list_view, hold_view")
    op.execute(_HOLDS_BEFORE)
    op.execute("DROP TABLE parties, hits, list_entries, imports")
    op.execute("DELETE FROM lists WHERE source = 'import'")
    op.execute("ALTER TABLE lists DROP COLUMN source")
    op.execute("CREATE VIEW list_view AS SELECT name, version, names, current, loaded_at FROM lists")
    op.execute("GRANT SELECT ON list_view TO tally_risk_read")
