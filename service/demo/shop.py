"""The demo's remote source: a shop of fifty tables, a publication and a replication slot."""

import psycopg

DATABASE = "shop"
PUBLICATION = "rosetta_publication"
SLOT = "rosetta_slot"

_SUBJECTS = {
    "sales": "orders order_lines order_events quotes returns refunds discounts coupons carts subscriptions",
    "people": "customers addresses contacts consents accounts sessions devices preferences loyalty_cards reviews",
    "goods": "products variants categories brands prices stock_levels suppliers images bundles warranties",
    "money": "invoices invoice_lines payments payouts tax_rates ledgers bank_accounts disputes fees budgets",
    "logistics": "shipments parcels carriers routes warehouses bins pick_lists stock_moves labels tracking_events",
}

_COMMON = """
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id uuid NOT NULL DEFAULT gen_random_uuid(),
    status {schema}_status NOT NULL DEFAULT 'new',
    title varchar(200) NOT NULL,
    notes text,
    amount numeric(12, 2) NOT NULL DEFAULT 0,
    is_active boolean NOT NULL DEFAULT true,
    tags text[] NOT NULL DEFAULT '{{}}',
    attributes jsonb NOT NULL DEFAULT '{{}}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version integer NOT NULL DEFAULT 1"""

_MORE = (
    "due_on date",
    "weight_kg double precision",
    "country char(2) DEFAULT 'DE'",
    "amount_cents bigint GENERATED ALWAYS AS ((amount * 100)::bigint) STORED",
    "window_from time",
)


def create(connection: psycopg.Connection[tuple[object, ...]]) -> int:
    """Creates the tables, the publication and the slot if they are missing; returns the number of published tables."""
    row = connection.execute("SELECT count(*) FROM pg_publication").fetchone()
    if row is None or row[0] == 0:
        number = 0
        for subject, names in _SUBJECTS.items():
            connection.execute(f"CREATE TYPE {subject}_status AS ENUM ('new', 'open', 'done', 'cancelled')")
            first = ""
            for name in names.split():
                columns = _COMMON.format(schema=subject)
                # 12 to 17 columns; most tables refer to the first one of their subject.
                for extra in _MORE[: number % 5]:
                    columns += f",\n    {extra}"
                if first:
                    columns += f",\n    {first}_id bigint REFERENCES {first} (id)"
                connection.execute(f"CREATE TABLE {name} ({columns}\n)")
                first = first or name
                number += 1
        tables = ", ".join(name for names in _SUBJECTS.values() for name in names.split())
        connection.execute(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE {tables}")
        connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (SLOT,))
    row = connection.execute("SELECT count(*) FROM pg_publication_tables").fetchone()
    assert row is not None
    return int(str(row[0]))
