"""Days of reconciliation that are signed: the report that one person has proposed and another one has signed."""

from alembic import op

revision = "doors_recon_closes"
down_revision = "doors_files_resolved"
branch_labels = None
depends_on = None

# Nothing of it is ever changed: a day is signed once.
TABLE = """
CREATE TABLE recon_closes (
    day date NOT NULL,
    close_no integer NOT NULL,               -- 1, 2, … of the day
    decision text NOT NULL CHECK (decision IN ('proposed', 'signed')),
    sha256 text COLLATE "C" NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    report text NOT NULL,                    -- JSON; `sha256` is that of its bytes in UTF-8
    decided_by text NOT NULL,
    reason text NOT NULL,
    decided_at timestamptz NOT NULL,
    PRIMARY KEY (day, close_no),
    CHECK (sha256 = encode(sha256(convert_to(report, 'UTF8')), 'hex'))
);
CREATE UNIQUE INDEX recon_closes_signed ON recon_closes (day) WHERE decision = 'signed';
REVOKE UPDATE, DELETE, TRUNCATE ON recon_closes FROM tally_doors;
CREATE VIEW recon_close_view AS
SELECT day, close_no, decision, sha256, report, decided_by, reason, decided_at FROM recon_closes;
GRANT SELECT ON recon_close_view TO tally_doors_read;
"""


def upgrade() -> None:
    op.execute(TABLE)


def downgrade() -> None:
    op.execute("DROP VIEW recon_close_view")
    op.execute("DROP TABLE recon_closes")
