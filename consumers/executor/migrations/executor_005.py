"""What lies behind a charge: captures, voids, refunds and disputes; authorisations; disputes that came before their call."""

from alembic import op

revision = "executor_005"
down_revision = "executor_004"
branch_labels = None
depends_on = "runtime_009"

STATES = """
ALTER TABLE attempts
    DROP CONSTRAINT attempts_state_check,
    ADD CONSTRAINT attempts_state_check CHECK (state IN ('calling', 'unknown', 'pending', 'unresolved', 'authorised',
        'captured', 'declined', 'voided', 'expired')),
    DROP CONSTRAINT attempts_check,
    ADD CONSTRAINT attempts_check
        CHECK ((state IN ('authorised', 'captured', 'voided', 'expired')) <= (psp_reference IS NOT NULL)),
    DROP CONSTRAINT attempts_check1,
    ADD CONSTRAINT attempts_check1
        CHECK ((state NOT IN ('calling', 'unknown', 'pending')) = (outcome_event_id IS NOT NULL)),
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN operations integer NOT NULL DEFAULT 0
"""

OPERATIONS = """
CREATE TABLE operations (
    payment_order_id text COLLATE "C" NOT NULL REFERENCES attempts,
    kind text NOT NULL CHECK (kind IN ('charge', 'capture', 'void', 'refund')),
    operation_id text COLLATE "C" NOT NULL,
    seq integer NOT NULL CHECK (seq >= 0),
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
    fee_minor bigint NOT NULL,
    final boolean NOT NULL,
    state text NOT NULL CHECK (state IN
        ('waiting', 'calling', 'unknown', 'pending', 'unresolved', 'done', 'failed', 'reversed')),
    turn integer NOT NULL,
    call_id text COLLATE "C" NOT NULL,
    psp text NOT NULL,
    refusals integer NOT NULL,
    asks integer NOT NULL,
    checks integer NOT NULL,
    checking text CHECK (checking IN ('open', 'again', 'unanswered')),
    check_asks integer NOT NULL,
    code text,
    psp_reference text,
    cause_event_id text NOT NULL,
    outcome_event_id text,
    outcome_place integer,
    placed_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    revision integer NOT NULL,
    PRIMARY KEY (payment_order_id, kind, operation_id),
    UNIQUE (payment_order_id, seq),
    CHECK ((state IN ('unresolved', 'done', 'failed', 'reversed')) = (outcome_event_id IS NOT NULL)),
    CHECK ((outcome_event_id IS NULL) = (outcome_place IS NULL))
)
"""

DISPUTES = """
CREATE TABLE disputes (
    psp text COLLATE "C" NOT NULL,
    dispute_reference text COLLATE "C" NOT NULL,
    stage integer NOT NULL CHECK (stage >= 1),
    dispute_id text COLLATE "C" NOT NULL,
    payment_order_id text COLLATE "C" NOT NULL REFERENCES attempts,
    state text NOT NULL CHECK (state IN ('waiting', 'orphaned', 'inquiry', 'opened', 'won', 'lost')),
    told text[] NOT NULL,
    amount_minor bigint NOT NULL,
    fee_minor bigint NOT NULL,
    dispute_fee_minor bigint,
    dispute_fee_currency text,
    reason text NOT NULL,
    due_by timestamptz,
    checks integer NOT NULL,
    checking text CHECK (checking IN ('open', 'again', 'unanswered')),
    check_asks integer NOT NULL,
    cause_event_id text NOT NULL,
    outcome_event_id text,
    outcome_place integer,
    placed_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    revision integer NOT NULL,
    PRIMARY KEY (psp, dispute_reference, stage)
);
CREATE INDEX disputes_by_order ON disputes (payment_order_id);
"""

# A person looks at these few; the others are found by their order.
FOUND = """
CREATE INDEX operations_unresolved ON operations (changed_at) WHERE state = 'unresolved' OR checking = 'unanswered';
CREATE INDEX operations_waiting ON operations (placed_at) WHERE state = 'waiting';
CREATE INDEX disputes_standing ON disputes (changed_at) WHERE state IN ('opened', 'lost') OR checking = 'unanswered';
"""

VIEWS = """
CREATE OR REPLACE VIEW attempt_view AS
SELECT payment_order_id, checkout_id, attempt_no, call_id, psp, state, scheme, psp_reference, code, gross_minor,
       currency, cause_event_id, outcome_event_id, created_at, changed_at, revision, expires_at, operations
FROM attempts;
CREATE VIEW operation_view AS
SELECT o.payment_order_id, a.checkout_id, kind, operation_id, seq, amount_minor, fee_minor, amount_minor - fee_minor AS
       net_minor, a.currency, final, o.state, turn, o.call_id, o.psp, o.code, o.psp_reference, checks, checking,
       o.cause_event_id, o.outcome_event_id, outcome_place, placed_at, o.changed_at, o.revision
FROM operations o JOIN attempts a USING (payment_order_id);
CREATE VIEW dispute_view AS
SELECT d.payment_order_id, a.checkout_id, d.psp, dispute_reference, dispute_id, stage, d.state, amount_minor, fee_minor,
       a.currency, dispute_fee_minor, dispute_fee_currency, reason, due_by, checks, checking, d.cause_event_id,
       d.outcome_event_id, outcome_place, placed_at, d.changed_at, d.revision
FROM disputes d JOIN attempts a USING (payment_order_id);
GRANT SELECT ON operation_view, dispute_view TO tally_executor_read;
"""

TOLD = """
ALTER TABLE notifications ADD COLUMN type text NOT NULL DEFAULT 'tallystick.NotificationReceived.v1';
ALTER TABLE notifications ALTER COLUMN type DROP DEFAULT;
"""


def upgrade() -> None:
    op.execute(STATES)
    op.execute(OPERATIONS)
    op.execute(DISPUTES)
    op.execute("REVOKE DELETE ON operations, disputes FROM tally_executor")
    op.execute(FOUND)
    op.execute(VIEWS)
    op.execute(TOLD)


def downgrade() -> None:
    op.execute("DROP VIEW dispute_view, operation_view, attempt_view")
    op.execute("DROP TABLE disputes, operations")
    op.execute("ALTER TABLE attempts DROP COLUMN expires_at, DROP COLUMN operations")
    op.execute("ALTER TABLE notifications DROP COLUMN type")
    op.execute(
        "CREATE VIEW attempt_view AS SELECT payment_order_id, checkout_id, attempt_no, call_id, psp, state, scheme,"
        " psp_reference, code, gross_minor, currency, cause_event_id, outcome_event_id, created_at, changed_at, revision"
        " FROM attempts"
    )
    op.execute("GRANT SELECT ON attempt_view TO tally_executor_read")
