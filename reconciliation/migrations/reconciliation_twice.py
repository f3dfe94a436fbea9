"""Orders that are charged twice: which lines stand in suspense beside a fact. What the executor has been told of. Rates."""

from alembic import op

revision = "reconciliation_twice"
down_revision = "reconciliation_moves"
branch_labels = None
depends_on = None

TALLIES = """
ALTER TABLE tallies ADD apart bigint[];  -- digests of lines in suspense beside a fact; NULL: none
ALTER TABLE tallies_done ADD apart bigint[];
"""
# Captures and refunds of an order that no fact explains. Few: each is a break, or gives one back.
UNEXPLAINED = """
CREATE TABLE unexplained (
    payment_order_id text NOT NULL,
    psp text NOT NULL,
    currency text NOT NULL,
    kind text NOT NULL,
    key uuid NOT NULL,
    amount bigint NOT NULL,  -- minor units
    again boolean NOT NULL,  -- a capture of what the order has had already
    PRIMARY KEY (payment_order_id, psp, kind, key, currency)
);
CREATE INDEX unexplained_by_key ON unexplained (key, kind, psp);

-- Items of breaks of which the executor was told, each once.
CREATE TABLE told (item text PRIMARY KEY, notification_id text NOT NULL, at timestamptz NOT NULL);
"""
# Lines of payments in another currency than their settlement's: what their rates are compared by.
CONVERSIONS = """
CREATE TABLE conversions (
    settlement_no integer NOT NULL,
    digest bigint NOT NULL,
    file_no integer NOT NULL,
    currency text NOT NULL,
    gross bigint NOT NULL,  -- in that currency
    worth bigint NOT NULL,  -- net and fee, in the settlement's
    day date NOT NULL,
    PRIMARY KEY (settlement_no, digest, file_no)
);
"""
VIEWS = """
CREATE OR REPLACE VIEW tally_line_view AS
SELECT t.psp, t.kind, t.key::text AS key, t.currency,
       cardinality(t.facts) > 0 AND (d.digest = ANY (t.apart)) IS NOT TRUE AS known, d.digest,
       t.lines[4 * d.place - 3] AS gross, t.lines[4 * d.place - 2] AS fee,
       t.lines[4 * d.place - 1]::integer AS settlement_no, t.lines[4 * d.place]::integer AS file_no
  FROM (SELECT {columns}, apart FROM tallies UNION ALL SELECT {columns}, apart FROM tallies_done) t
  CROSS JOIN LATERAL unnest(t.digests) WITH ORDINALITY AS d (digest, place);
CREATE VIEW unexplained_view AS
SELECT payment_order_id, psp, currency, kind, key::text AS key, amount, again FROM unexplained;
CREATE VIEW told_view AS SELECT item, notification_id, at FROM told;
CREATE VIEW conversion_view AS
SELECT settlement_no, digest, file_no, currency, gross, worth, day FROM conversions;
GRANT SELECT ON unexplained_view, told_view, conversion_view TO tally_reconciliation_read;
"""
FORMER = """
DROP VIEW unexplained_view, told_view, conversion_view;
CREATE OR REPLACE VIEW tally_line_view AS
SELECT t.psp, t.kind, t.key::text AS key, t.currency, cardinality(t.facts) > 0 AS known, d.digest,
       t.lines[4 * d.place - 3] AS gross, t.lines[4 * d.place - 2] AS fee,
       t.lines[4 * d.place - 1]::integer AS settlement_no, t.lines[4 * d.place]::integer AS file_no
  FROM (SELECT {columns} FROM tallies UNION ALL SELECT {columns} FROM tallies_done) t
  CROSS JOIN LATERAL unnest(t.digests) WITH ORDINALITY AS d (digest, place);
DROP TABLE unexplained, told, conversions;
ALTER TABLE tallies DROP apart;
ALTER TABLE tallies_done DROP apart;
"""


_COLUMNS = "psp, kind, key, currency, facts, digests, lines"


def upgrade() -> None:
    for part in (TALLIES, UNEXPLAINED, CONVERSIONS, VIEWS.format(columns=_COLUMNS)):
        op.execute(part)


def downgrade() -> None:
    op.execute(FORMER.format(columns=_COLUMNS))
