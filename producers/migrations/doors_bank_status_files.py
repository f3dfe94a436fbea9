"""What banks tell of our files: each report as it came, and what of it moved nothing. Two persons may speak of a whole file."""

from alembic import op

revision = "doors_bank_status_files"
down_revision = "doors_discards_proposed"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE bank_status_files (
    provider text COLLATE "C" NOT NULL,
    sha256 text COLLATE "C" NOT NULL,        -- of the bytes
    file_id text COLLATE "C" NOT NULL,       -- our file that it is about
    group_status text,
    lines integer NOT NULL,                  -- that it names
    matched integer NOT NULL,                -- our lines of which it tells
    odd jsonb NOT NULL,                      -- lines that moved nothing, and why
    body bytea NOT NULL,
    stored_by text NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (provider, sha256)
);
CREATE INDEX bank_status_files_of ON bank_status_files (file_id, received_at);
REVOKE UPDATE, DELETE ON bank_status_files FROM tally_doors;

CREATE VIEW bank_status_file_view AS
SELECT provider, sha256, file_id, group_status, lines, matched, odd, stored_by, received_at FROM bank_status_files;
GRANT SELECT ON bank_status_file_view TO tally_doors_read;
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute("DROP VIEW bank_status_file_view")
    op.execute("DROP TABLE bank_status_files")
