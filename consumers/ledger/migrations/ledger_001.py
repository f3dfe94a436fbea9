"""The books: accounts, journals and their entries (append-only), balances that are their sums, and what others read."""

from alembic import op

revision = "ledger_001"
down_revision = None
branch_labels = ("ledger",)
depends_on = None

# Indexes are what posting costs, so each must earn its keep:
# - a journal's id is derived from its cause's, so its primary key also keeps a cause from posting twice;
# - an entry's primary key serves the account's listing; a journal finds its entries through `account_ids`.
TABLES = """
CREATE TABLE accounts (
    account_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text NOT NULL UNIQUE,
    opened_at timestamptz NOT NULL
);

CREATE TABLE journals (
    journal_id uuid PRIMARY KEY,
    template text NOT NULL,
    payment_order_id text NOT NULL,
    checkout_id text NOT NULL,
    cause_event_id uuid NOT NULL,
    account_ids integer[] NOT NULL CHECK (cardinality(account_ids) >= 2),  -- line by line
    posted_at timestamptz NOT NULL,
    UNIQUE (payment_order_id, template)
);

CREATE TABLE entries (
    account_id integer NOT NULL,
    journal_id uuid NOT NULL,
    line smallint NOT NULL,
    currency text NOT NULL,
    direction text NOT NULL CHECK (direction IN ('debit', 'credit')),
    amount bigint NOT NULL CHECK (amount > 0),  -- minor units
    PRIMARY KEY (account_id, journal_id, line)
);

CREATE TABLE balances (
    account_id integer NOT NULL REFERENCES accounts,
    currency text NOT NULL,
    debits bigint NOT NULL DEFAULT 0 CHECK (debits >= 0),
    credits bigint NOT NULL DEFAULT 0 CHECK (credits >= 0),
    version bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, currency)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0);
"""

# One look at all the entries of a statement: a constraint trigger would look once for each row. Every line must be
# where its journal says, so nothing can be left out, and nothing added to a journal of earlier.
TRIGGERS = """
CREATE FUNCTION check_journals() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    wrong uuid;
BEGIN
    SELECT journal_id INTO wrong FROM posted GROUP BY journal_id, currency
        HAVING sum(CASE direction WHEN 'debit' THEN amount ELSE -amount END) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'journal %: debits are not credits', wrong USING ERRCODE = 'check_violation';
    END IF;
    SELECT p.journal_id INTO wrong
        FROM (SELECT journal_id, array_agg(account_id ORDER BY line) AS account_ids, min(line) AS lowest,
                  max(line) AS highest FROM posted GROUP BY journal_id) p
        WHERE p.lowest <> 1 OR p.highest <> cardinality(p.account_ids)
            OR (SELECT j.account_ids FROM journals j WHERE j.journal_id = p.journal_id) IS DISTINCT FROM p.account_ids
        LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'journal %: these are not all of its lines', wrong USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER balanced AFTER INSERT ON entries REFERENCING NEW TABLE AS posted
    FOR EACH STATEMENT EXECUTE FUNCTION check_journals();

CREATE FUNCTION refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON accounts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
"""

VIEWS = """
CREATE VIEW account_view AS
    SELECT a.account, b.currency, b.debits, b.credits, b.version, a.opened_at
    FROM balances b JOIN accounts a USING (account_id);

CREATE VIEW journal_view AS
    SELECT journal_id, template, payment_order_id, checkout_id, cause_event_id,
        cardinality(account_ids) AS lines, posted_at
    FROM journals;

-- Found from either end: by account through the primary key of entries, by order or journal through account_ids.
CREATE VIEW entry_view AS
    SELECT e.journal_id, e.line, a.account, e.currency, e.direction, e.amount,
        j.template, j.payment_order_id, j.checkout_id, j.cause_event_id, j.posted_at
    FROM journals j
    CROSS JOIN LATERAL unnest(j.account_ids) WITH ORDINALITY AS l (account_id, line)
    JOIN entries e ON e.account_id = l.account_id AND e.journal_id = j.journal_id AND e.line = l.line
    JOIN accounts a ON a.account_id = e.account_id;

CREATE VIEW trial_balance_view AS
    SELECT currency, count(*) AS accounts, sum(debits) AS debits, sum(credits) AS credits
    FROM balances GROUP BY currency;

-- Balances that are not the sum of their entries: must be empty.
CREATE VIEW wrong_balance_view AS
    SELECT a.account, currency, coalesce(b.debits, 0) AS debits, coalesce(b.credits, 0) AS credits,
        coalesce(e.debits, 0) AS entry_debits, coalesce(e.credits, 0) AS entry_credits
    FROM balances b
    FULL JOIN (
        SELECT account_id, currency, coalesce(sum(amount) FILTER (WHERE direction = 'debit'), 0) AS debits,
            coalesce(sum(amount) FILTER (WHERE direction = 'credit'), 0) AS credits
        FROM entries GROUP BY account_id, currency
    ) e USING (account_id, currency)
    LEFT JOIN accounts a USING (account_id)
    WHERE (b.debits, b.credits) IS DISTINCT FROM (coalesce(e.debits, 0), coalesce(e.credits, 0));
"""

APPEND_ONLY = ("accounts", "journals", "entries")
READABLE = ("account_view", "journal_view", "entry_view", "trial_balance_view", "wrong_balance_view")


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(TRIGGERS)
    op.execute(VIEWS)
    op.execute(f"REVOKE UPDATE, DELETE ON {', '.join(APPEND_ONLY)} FROM tally_ledger")
    op.execute("REVOKE DELETE ON balances FROM tally_ledger")
    op.execute(f"GRANT SELECT ON {', '.join(READABLE)} TO tally_ledger_read")
