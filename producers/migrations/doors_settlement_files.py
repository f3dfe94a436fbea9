"""Settlement files and bank statements: their bytes in pieces, and who has released or discarded a file."""

from alembic import op

revision = "doors_settlement_files"
down_revision = "doors_proposals"
branch_labels = None
depends_on = None

# An upload writes its pieces one by one, each in a transaction of its own. Its row in `uploads` stands until the file is
# stored: a row that stays behind says which pieces belong to nobody.
TABLES = """
CREATE TABLE uploads (
    upload_id text COLLATE "C" PRIMARY KEY,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended boolean NOT NULL DEFAULT false     -- broken off or refused: its pieces are deleted, and none is added
);
CREATE TABLE file_chunks (
    upload_id text COLLATE "C",
    piece integer NOT NULL,                  -- 0, 1, …: 1 MiB of the file each, the last one less
    bytes bytea NOT NULL,                    -- compressed by zlib (RFC 1950)
    PRIMARY KEY (upload_id, piece)
);
ALTER TABLE file_chunks ALTER bytes SET STORAGE EXTERNAL;
CREATE TABLE files (
    source text COLLATE "C" NOT NULL,
    file_id text COLLATE "C" NOT NULL,       -- SHA-256 of the bytes, unpacked
    upload_id text COLLATE "C" NOT NULL UNIQUE,
    name text NOT NULL,
    size bigint NOT NULL CHECK (size > 0),
    pieces integer NOT NULL,
    stored_by text NOT NULL,
    received_at timestamptz NOT NULL,
    event_id uuid NOT NULL,                  -- of the event on settlement-files.v1
    PRIMARY KEY (source, file_id)
);
CREATE INDEX files_newest ON files (received_at, file_id);
CREATE TABLE file_decisions (
    source text COLLATE "C" NOT NULL,
    file_id text COLLATE "C" NOT NULL,
    decision_no integer NOT NULL,
    decision text NOT NULL CHECK (decision IN ('release_proposed', 'released', 'discarded')),
    decided_by text NOT NULL,
    reason text NOT NULL,
    decided_at timestamptz NOT NULL,
    event_id uuid,                           -- of the event on settlement-files.v1; a proposal says nothing yet
    PRIMARY KEY (source, file_id, decision_no),
    FOREIGN KEY (source, file_id) REFERENCES files,
    CHECK ((decision = 'release_proposed') = (event_id IS NULL))
);
REVOKE UPDATE ON file_chunks FROM tally_doors;
REVOKE UPDATE, DELETE ON file_decisions FROM tally_doors;
REVOKE DELETE ON files FROM tally_doors;

CREATE VIEW settlement_file_view AS
SELECT source, file_id, upload_id, name, size, pieces, stored_by, received_at, event_id FROM files;
CREATE VIEW settlement_file_decision_view AS
SELECT source, file_id, decision_no, decision, decided_by, reason, decided_at, event_id FROM file_decisions;
CREATE VIEW settlement_bytes AS
SELECT c.upload_id, c.piece, c.bytes FROM file_chunks c JOIN files f ON f.upload_id = c.upload_id;
GRANT SELECT ON settlement_file_view, settlement_file_decision_view, settlement_bytes TO tally_doors_read;
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute("DROP VIEW settlement_bytes, settlement_file_decision_view, settlement_file_view")
    op.execute("DROP TABLE file_decisions, files, file_chunks, uploads")
