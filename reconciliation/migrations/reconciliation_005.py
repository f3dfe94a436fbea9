"""Sums of tallies, kept as they change, so that reports read no tallies; and of a capture its scheme and the terms of its fee."""

from alembic import op

revision = "reconciliation_005"
down_revision = "reconciliation_004"
branch_labels = None
depends_on = None

# A statement adds what it changes as rows of its own: no row is updated, so no batch waits for another. The sweep merges
# them.
TABLE = """
CREATE TABLE tally_sums (
    psp text NOT NULL,  -- or the bank account
    kind text NOT NULL,
    currency text NOT NULL,
    known boolean NOT NULL,  -- whether a fact expects them
    due date,  -- of open tallies; NULL: of all others, and where no day is known
    tallies bigint NOT NULL,  -- how many are open
    plus numeric NOT NULL,  -- expected less settled, where that is positive
    minus numeric NOT NULL,  -- and where it is negative
    expected numeric NOT NULL,
    merged boolean NOT NULL DEFAULT false
);
CREATE INDEX tally_sums_to_merge ON tally_sums (psp) WHERE NOT merged;
"""

_COLUMNS = "psp, kind, currency, known, due, tallies, plus, minus, expected"
_ROWS = """SELECT psp, kind, currency, facts <> '{{}}' AS known, CASE WHEN expected <> settled THEN due END AS due,
    {sign} * (expected <> settled)::integer AS tallies, {sign} * greatest(expected - settled, 0) AS plus,
    {sign} * least(expected - settled, 0) AS minus, {sign} * expected AS expected FROM {rows}"""
_ADD = f"""INSERT INTO tally_sums ({_COLUMNS})
SELECT psp, kind, currency, known, due, sum(tallies), sum(plus), sum(minus), sum(expected)
FROM ({{rows}}) t GROUP BY 1, 2, 3, 4, 5
HAVING (sum(tallies), sum(plus), sum(minus), sum(expected)) <> (0, 0, 0, 0)"""
_ADDED, _GONE = _ROWS.format(sign="1", rows="added"), _ROWS.format(sign="-1", rows="gone")
# A trigger sees every statement: the sums are right whatever changes a tally, in whatever order.
TRIGGERS = f"""
CREATE FUNCTION sum_tallies() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    CASE TG_OP
    WHEN 'INSERT' THEN {_ADD.format(rows=_ADDED)};
    WHEN 'UPDATE' THEN {_ADD.format(rows=f"{_ADDED} UNION ALL {_GONE}")};
    ELSE {_ADD.format(rows=_GONE)};
    END CASE;
    RETURN NULL;
END $$;
CREATE TRIGGER summed_on_insert AFTER INSERT ON tallies REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION sum_tallies();
CREATE TRIGGER summed_on_update AFTER UPDATE ON tallies REFERENCING NEW TABLE AS added OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION sum_tallies();
CREATE TRIGGER summed_on_delete AFTER DELETE ON tallies REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION sum_tallies();
"""

FEES = """
ALTER TABLE tallies
    ADD scheme text,  -- of a capture, as the executor says
    ADD fee_since date;  -- the first day of the row of the fee schedule by which its fee is expected
-- A fee is expected from fee_expected up to fee_slack more; it was the middle of what is expected, and slack both ways.
UPDATE tallies SET fee_expected = fee_expected - fee_slack, fee_slack = 2 * fee_slack WHERE fee_slack <> 0;
"""

VIEWS = """
CREATE VIEW tally_sum_view AS SELECT psp, kind, currency, known, due, tallies, plus, minus, expected FROM tally_sums;
CREATE OR REPLACE VIEW tally_by_key_view AS
SELECT key, kind, currency, psp, expected, cardinality(facts) AS facts, settled, fee, fee_expected, due, outcome,
       payment_order_id, seller, digests, lines, fee_slack, scheme, fee_since, made_at
  FROM tallies;
GRANT SELECT ON tally_sum_view TO tally_reconciliation_read;
"""


def upgrade() -> None:
    op.execute(TABLE)
    op.execute(_ADD.format(rows=_ROWS.format(sign="1", rows="tallies")))
    for part in (TRIGGERS, FEES, VIEWS):
        op.execute(part)


def downgrade() -> None:
    op.execute("DROP VIEW tally_sum_view, tally_by_key_view")
    op.execute("DROP TRIGGER summed_on_insert ON tallies")
    op.execute("DROP TRIGGER summed_on_update ON tallies")
    op.execute("DROP TRIGGER summed_on_delete ON tallies")
    op.execute("DROP FUNCTION sum_tallies")
    op.execute("DROP TABLE tally_sums")
    op.execute("UPDATE tallies SET fee_expected = fee_expected + fee_slack / 2, fee_slack = fee_slack - fee_slack / 2")
    op.execute("ALTER TABLE tallies DROP scheme, DROP fee_since")
    op.execute(
        "CREATE VIEW tally_by_key_view AS SELECT key, kind, currency, psp, expected, cardinality(facts) AS facts, settled, fee,"
        " fee_expected, due, outcome, payment_order_id, seller, digests, lines FROM tallies"
    )
    op.execute("GRANT SELECT ON tally_by_key_view TO tally_reconciliation_read")
