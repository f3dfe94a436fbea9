"""An archive of closed tallies, a partition for each month of closing; views and sums are of both."""

from alembic import op

revision = "reconciliation_archive"
down_revision = "reconciliation_005"
branch_labels = None
depends_on = None

# Partitions are made and dropped by functions of the owner: the room's role may do neither. A key is unique in each partition;
# no unique index of all could be without `closed_on`.
ARCHIVE = """
CREATE TABLE tallies_done (LIKE tallies INCLUDING DEFAULTS, closed_on date NOT NULL) PARTITION BY RANGE (closed_on);

-- Once a day all blocks of `tallies` are looked through; who holds the row does it. No index helps: deleted rows leave room for
-- new ones, so that soon each block has old ones and new ones, and a BRIN index of `made_at` would name them all.
CREATE TABLE archive_walk (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    day date,
    next_block bigint  -- NULL: the day's walk is over
);
INSERT INTO archive_walk DEFAULT VALUES;
REVOKE INSERT, DELETE ON archive_walk FROM tally_reconciliation;

-- What the partitions that were dropped held, so that sums still add up.
CREATE TABLE tallies_dropped (
    month date NOT NULL,
    psp text NOT NULL,
    kind text NOT NULL,
    currency text NOT NULL,
    known boolean NOT NULL,
    tallies bigint NOT NULL,  -- of kinds that need no fact
    plus numeric NOT NULL,
    minus numeric NOT NULL,
    expected numeric NOT NULL,
    PRIMARY KEY (month, psp, kind, currency, known)
);
CREATE TABLE lines_dropped (
    month date NOT NULL,
    settlement_no integer NOT NULL,
    kind text NOT NULL,
    currency text NOT NULL,
    lines bigint NOT NULL,
    gross numeric NOT NULL,
    unknown numeric NOT NULL,
    PRIMARY KEY (month, settlement_no, kind, currency)
);
REVOKE INSERT, UPDATE, DELETE ON tallies_dropped, lines_dropped FROM tally_reconciliation;

CREATE FUNCTION make_archive(of_day date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    first date := date_trunc('month', of_day);
    name text := 'tallies_done_' || to_char(first, 'YYYYMM');
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('archive of tallies', 0));
    IF to_regclass(name) IS NULL THEN  -- attached, not made in place: readers of the archive go on
        EXECUTE format('CREATE TABLE %I (LIKE tallies_done INCLUDING DEFAULTS)', name);
        EXECUTE format('CREATE UNIQUE INDEX ON %I (key, kind, currency, psp)', name);
        EXECUTE format('ALTER TABLE tallies_done ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, first,
            (first + interval '1 month')::date);
    END IF;
END $$;

-- Drops the oldest partition whose month ended by that day. Returns its month; NULL: there is none.
CREATE FUNCTION drop_archive(before date) RETURNS date LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    name text;
    first date;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('archive of tallies', 0));
    SELECT c.relname, to_date(right(c.relname, 6), 'YYYYMM') INTO name, first
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'tallies_done'::regclass
    ORDER BY c.relname LIMIT 1;
    IF first IS NULL OR first + interval '1 month' > before THEN
        RETURN NULL;
    END IF;
    EXECUTE format('INSERT INTO tallies_dropped SELECT %L, psp, kind, currency, facts <> ''{}'',
        count(*) FILTER (WHERE expected <> settled), sum(greatest(expected - settled, 0)), sum(least(expected - settled, 0)),
        sum(expected) FROM %I GROUP BY 2, 3, 4, 5', first, name);
    EXECUTE format('INSERT INTO lines_dropped SELECT %L, t.lines[4 * d.place - 1], t.kind, t.currency, count(*),
        sum(t.lines[4 * d.place - 3]), coalesce(sum(t.lines[4 * d.place - 3]) FILTER (WHERE t.facts = ''{}''), 0)
        FROM %I t CROSS JOIN LATERAL unnest(t.digests) WITH ORDINALITY AS d (digest, place) GROUP BY 2, 3, 4', first, name);
    EXECUTE format('DROP TABLE %I', name);
    RETURN first;
END $$;
REVOKE ALL ON FUNCTION make_archive(date), drop_archive(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_archive(date), drop_archive(date) TO tally_reconciliation;
"""
# The same sums of the archive: moving a tally adds nothing to them.
SUMMED = """
CREATE TRIGGER summed_on_insert AFTER INSERT ON tallies_done REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION sum_tallies();
CREATE TRIGGER summed_on_delete AFTER DELETE ON tallies_done REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION sum_tallies();
"""

_BOTH = "(SELECT {columns} FROM tallies UNION ALL SELECT {columns} FROM tallies_done)"
_NAMED = (
    "psp, kind, key, currency, expected, settled, fee_expected, fee_slack, fee, due, outcome, payment_order_id, seller, facts,"
    " digests, lines, scheme, fee_since, made_at"
)
_VIEWS = """
CREATE OR REPLACE VIEW tally_view AS
SELECT psp, kind, key::text AS key, currency, expected, settled, expected - settled AS open, fee_expected, fee_slack, fee, due,
       outcome, payment_order_id, seller, cardinality(facts) AS facts, cardinality(digests) AS lines, made_at
  FROM {source} t;
CREATE OR REPLACE VIEW tally_line_view AS
SELECT t.psp, t.kind, t.key::text AS key, t.currency, cardinality(t.facts) > 0 AS known, d.digest,
       t.lines[4 * d.place - 3] AS gross, t.lines[4 * d.place - 2] AS fee,
       t.lines[4 * d.place - 1]::integer AS settlement_no, t.lines[4 * d.place]::integer AS file_no
  FROM {source} t CROSS JOIN LATERAL unnest(t.digests) WITH ORDINALITY AS d (digest, place);
CREATE OR REPLACE VIEW tally_by_key_view AS
SELECT key, kind, currency, psp, expected, cardinality(facts) AS facts, settled, fee, fee_expected, due, outcome,
       payment_order_id, seller, digests, lines, fee_slack, scheme, fee_since, made_at
  FROM {source} t;
"""
VIEWS = _VIEWS.format(source=_BOTH.format(columns=_NAMED))
FORMER = _VIEWS.format(source="tallies")
DROPPED = """
CREATE VIEW tally_dropped_view AS SELECT month, psp, kind, currency, known, tallies, plus, minus, expected FROM tallies_dropped;
CREATE VIEW line_dropped_view AS SELECT month, settlement_no, kind, currency, lines, gross, unknown FROM lines_dropped;
GRANT SELECT ON tally_dropped_view, line_dropped_view TO tally_reconciliation_read;
"""
# Back into the one table, so that nothing is lost.
BACK = """
WITH back AS (DELETE FROM tallies_done RETURNING {columns}) INSERT INTO tallies ({columns}) SELECT {columns} FROM back;
DROP TABLE tallies_done;
"""
GONE = """
DROP VIEW tally_dropped_view, line_dropped_view;
DROP FUNCTION make_archive(date);
DROP FUNCTION drop_archive(date);
DROP TABLE tallies_dropped, lines_dropped, archive_walk;
"""


def upgrade() -> None:
    for part in (ARCHIVE, SUMMED, VIEWS, DROPPED):
        op.execute(part)


def downgrade() -> None:
    for part in (FORMER, BACK.format(columns=f"{_NAMED}, broken"), GONE):
        op.execute(part)
