"""Files of pay-outs for banks, and their lines."""

from alembic import op

revision = "executor_012"
down_revision = "executor_011"
branch_labels = None
depends_on = None

FILES = """
CREATE TABLE bank_files (
    file_id text COLLATE "C" PRIMARY KEY,    -- 32 hex digits: its MsgId
    provider text NOT NULL,
    bank_account text NOT NULL,
    currency text NOT NULL,
    cut_off timestamptz NOT NULL,
    number integer NOT NULL,                 -- of the files of that cut-off and currency
    transactions integer NOT NULL CHECK (transactions > 0),
    total_minor bigint NOT NULL CHECK (total_minor > 0),
    state text NOT NULL CHECK (state IN ('closed', 'delivering', 'delivered', 'unresolved', 'not_delivered', 'rejected')),
    code text,
    sha256 text,                             -- of the file as it was written
    bytes bigint,
    closed_at timestamptz NOT NULL,
    delivering_at timestamptz,
    changed_at timestamptz NOT NULL,
    lease_until timestamptz,                 -- machine time
    leased_by text,
    UNIQUE (provider, cut_off, currency, number),
    CHECK (CASE state WHEN 'closed' THEN sha256 IS NULL WHEN 'not_delivered' THEN true ELSE sha256 IS NOT NULL END),
    CHECK ((state IN ('closed', 'delivering')) >= (lease_until IS NOT NULL))
);
CREATE TABLE bank_file_lines (
    call_id text COLLATE "C" PRIMARY KEY,    -- its EndToEndId: a call is in one file at most
    file_id text COLLATE "C" NOT NULL REFERENCES bank_files,
    position integer NOT NULL CHECK (position > 0),
    payout_id text COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    UNIQUE (file_id, position)
);
"""

# The filer, or a person, looks at these few.
OPEN = """
CREATE INDEX bank_files_open ON bank_files (closed_at) WHERE state IN ('closed', 'delivering', 'unresolved');
CREATE INDEX bank_files_newest ON bank_files (closed_at, file_id);
"""

VIEWS = """
CREATE VIEW bank_file_view AS
SELECT file_id, provider, bank_account, currency, cut_off, number, transactions, total_minor, state, code, sha256, bytes,
       closed_at, delivering_at, changed_at
FROM bank_files;
CREATE VIEW bank_file_line_view AS
SELECT l.file_id, l.position, l.call_id, l.payout_id, l.amount_minor, f.currency, f.provider,
       CASE WHEN p.call_id = l.call_id THEN p.state ELSE 'not_sent' END AS state,
       CASE WHEN p.call_id = l.call_id THEN p.code END AS code
FROM bank_file_lines l JOIN bank_files f USING (file_id) JOIN payouts p USING (payout_id);
GRANT SELECT ON bank_file_view, bank_file_line_view TO tally_executor_read;
"""


def upgrade() -> None:
    op.execute(FILES)
    op.execute("REVOKE DELETE ON bank_files FROM tally_executor")
    op.execute("REVOKE UPDATE, DELETE ON bank_file_lines FROM tally_executor")
    op.execute(OPEN)
    op.execute(VIEWS)


def downgrade() -> None:
    op.execute("DROP VIEW bank_file_line_view, bank_file_view")
    op.execute("DROP TABLE bank_file_lines, bank_files")
