-- name: remote_publication
-- On a source: the names of the tables in its publication now, and the snapshot in which they were read. No row for a
-- publication that does not exist.
SELECT
    coalesce(array_agg(named.table_name) FILTER (WHERE named.table_name IS NOT NULL), '{}') AS names,
    txid_current_snapshot()::text AS source_snapshot
FROM pg_catalog.pg_publication AS p
LEFT JOIN LATERAL (
    SELECT
        -- include: remote_table_name
    FROM pg_catalog.pg_get_publication_tables(p.pubname) AS published
    INNER JOIN pg_catalog.pg_class AS c ON c.oid = published.relid
    INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
) AS named ON true
WHERE p.pubname = %(publication)s
GROUP BY p.oid

-- name: remote_table_name
-- Part of the three others: a table in schema public is named without its schema, any other as schema.table. A part
-- that contains a dot or a double quote is quoted, so that no two tables share a name.
CASE WHEN n.nspname <> 'public' THEN
    CASE WHEN n.nspname ~ '[."]' THEN '"' || replace(n.nspname, '"', '""') || '"' ELSE n.nspname END || '.'
    ELSE ''
END
|| CASE WHEN c.relname ~ '[."]' THEN '"' || replace(c.relname, '"', '""') || '"' ELSE c.relname END AS table_name

-- name: remote_state
-- On a source, in one round trip: its publication, its slot, its WAL position, and the columns of every published table.
-- `columns` are what information_schema shows to this role (computed by its own functions; the views take seconds at ten
-- thousand tables): that is what the platform's schema monitor records. `source_columns` are the columns as they are, if
-- that differs. A role that sees no column of a table gets all of them: the platform's monitor skips such a table.
-- txid_current_snapshot() instead of its successor, for servers older than 13.
WITH
published AS (
    SELECT
        c.oid,
        -- include: remote_table_name
    FROM pg_catalog.pg_publication AS p
    CROSS JOIN LATERAL pg_catalog.pg_get_publication_tables(p.pubname) AS held
    INNER JOIN pg_catalog.pg_class AS c ON c.oid = held.relid
    INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE p.pubname = %(publication)s
),

-- Primary keys by name and schema, of the tables whose constraints this role may see (information_schema.table_constraints).
seen_keys AS (
    SELECT DISTINCT k.connamespace, k.conname
    FROM pg_catalog.pg_constraint AS k
    INNER JOIN pg_catalog.pg_class AS r ON r.oid = k.conrelid AND r.relkind IN ('r', 'p')
    WHERE
        k.contype = 'p'
        AND (
            pg_catalog.pg_has_role(r.relowner, 'USAGE')
            OR pg_catalog.has_table_privilege(r.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
            OR pg_catalog.has_any_column_privilege(r.oid, 'INSERT, UPDATE, REFERENCES')
        )
),

-- Each table's key as it is, in order, and the columns that the platform takes for the key: those of any constraint that
-- shares its name with a primary key that the role sees.
keyed AS (
    SELECT
        t.oid,
        t.table_name,
        (
            SELECT k.conkey
            FROM pg_catalog.pg_constraint AS k
            WHERE k.conrelid = t.oid AND k.contype = 'p'
        ) AS own_key,
        ARRAY(
            SELECT u.attnum
            FROM pg_catalog.pg_constraint AS k
            INNER JOIN seen_keys AS s ON s.connamespace = k.connamespace AND s.conname = k.conname
            CROSS JOIN LATERAL pg_catalog.unnest(k.conkey) AS u (attnum)
            WHERE k.conrelid = t.oid AND k.contype IN ('p', 'u', 'f')
        ) AS seen_key
    FROM published AS t
),

columns AS (
    SELECT
        t.table_name,
        a.attnum,
        seen.is_visible,
        bool_or(seen.is_visible) OVER (PARTITION BY t.oid) AS is_any_visible,
        described.attributes,
        coalesce(a.attnum = ANY (t.own_key), false) AS is_key,
        coalesce(a.attnum = ANY (t.seen_key), false) AS is_seen_key
    FROM keyed AS t
    INNER JOIN pg_catalog.pg_class AS c ON c.oid = t.oid
    LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_attrdef AS ad ON ad.adrelid = a.attrelid AND ad.adnum = a.attnum
    LEFT JOIN pg_catalog.pg_type AS ty ON ty.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_namespace AS nt ON nt.oid = ty.typnamespace
    LEFT JOIN pg_catalog.pg_type AS bt ON ty.typtype = 'd' AND bt.oid = ty.typbasetype
    LEFT JOIN pg_catalog.pg_namespace AS nbt ON nbt.oid = bt.typnamespace
    CROSS JOIN LATERAL (
        SELECT
            coalesce(
                pg_catalog.pg_has_role(c.relowner, 'USAGE')
                OR pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT, INSERT, UPDATE, REFERENCES'),
                false
            ) AS is_visible
    ) AS seen
    CROSS JOIN LATERAL (
        SELECT
            CASE WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(ad.adbin, ad.adrelid) END AS default_value,
            coalesce(bt.typname, ty.typname) AS udt_name,
            CASE
                WHEN coalesce(bt.typelem, ty.typelem) <> 0 AND coalesce(bt.typlen, ty.typlen) = -1 THEN 'ARRAY'
                WHEN coalesce(nbt.nspname, nt.nspname) = 'pg_catalog'
                    THEN pg_catalog.format_type(coalesce(bt.oid, ty.oid), NULL)
                ELSE 'USER-DEFINED'
            END AS data_type
    ) AS facts
    CROSS JOIN LATERAL (
        SELECT
            pg_catalog.jsonb_build_object(
                'column_name', a.attname,
                'is_nullable',
                CASE WHEN a.attnotnull OR (ty.typtype = 'd' AND ty.typnotnull) THEN 'NO' ELSE 'YES' END,
                'numeric_precision',
                information_schema._pg_numeric_precision(
                    information_schema._pg_truetypid(a, ty), information_schema._pg_truetypmod(a, ty)
                ),
                'numeric_scale',
                information_schema._pg_numeric_scale(
                    information_schema._pg_truetypid(a, ty), information_schema._pg_truetypmod(a, ty)
                ),
                'real_data_type',
                CASE
                    WHEN facts.udt_name IN ('geometry', 'geography') THEN upper(facts.udt_name)
                    ELSE upper(facts.data_type)
                END,
                'has_default', facts.default_value IS NOT NULL,
                'default_value', facts.default_value
            ) AS attributes
    ) AS described
),

described AS (
    SELECT
        k.table_name,
        json_agg(
            k.attributes
            || pg_catalog.jsonb_build_object(
                'is_primary_key', CASE WHEN k.is_any_visible THEN k.is_seen_key ELSE k.is_key END
            )
            ORDER BY k.attnum
        ) FILTER (WHERE k.attnum IS NOT NULL AND (k.is_visible OR NOT k.is_any_visible)) AS columns,
        CASE
            WHEN bool_or(k.is_any_visible AND (NOT k.is_visible OR k.is_key <> k.is_seen_key))
                THEN
                    json_agg(
                        k.attributes || pg_catalog.jsonb_build_object('is_primary_key', k.is_key) ORDER BY k.attnum
                    )
        END AS source_columns,
        coalesce(bool_or(k.is_any_visible), false) AS is_seen
    FROM columns AS k
    GROUP BY k.table_name
)

SELECT
    pg_catalog.txid_current_snapshot()::text AS source_snapshot,
    (
        SELECT concat_ws('/', s.system_identifier, c.timeline_id)
        FROM pg_catalog.pg_control_system() AS s
        CROSS JOIN pg_catalog.pg_control_checkpoint() AS c
    ) AS incarnation,
    EXISTS (SELECT FROM pg_catalog.pg_publication AS p WHERE p.pubname = %(publication)s) AS has_publication,
    (
        SELECT pg_catalog.json_build_object('plugin', r.plugin, 'active', r.active)
        FROM pg_catalog.pg_replication_slots AS r
        WHERE r.slot_name = %(slot)s
    ) AS slot,
    CASE
        WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
        ELSE pg_catalog.pg_current_wal_lsn()
    END::text AS wal_lsn,
    (SELECT count(*) FROM described) AS table_count,
    (
        SELECT
            coalesce(
                pg_catalog.json_agg(
                    pg_catalog.json_build_object(
                        'table_name', d.table_name,
                        'columns', coalesce(d.columns, '[]'),
                        'source_columns', d.source_columns,
                        'is_seen', d.is_seen
                    )
                ),
                '[]'
            )::text
        FROM described AS d
    ) AS tables

-- name: remote_tables
-- On a source: the names of its base tables, as information_schema.tables counts them: ordinary and partitioned ones,
-- in every schema except the server's own.
SELECT
    coalesce(array_agg(named.table_name ORDER BY named.table_name COLLATE "C"), '{}') AS names
FROM (
    SELECT
        -- include: remote_table_name
    FROM pg_catalog.pg_class AS c
    INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE
        c.relkind IN ('r', 'p')
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
        AND n.nspname !~ '^pg_(toast_)?temp_'
) AS named

-- name: remote_wal
-- On a source: its WAL position, what its slot retains and has confirmed, and how many tables its publication has. The
-- columns of a slot that only newer servers have (wal_status and safe_wal_size from 13 on, inactive_since from 17 on)
-- are NULL on older ones.
SELECT
    here.lsn::text AS wal_lsn,
    (here.lsn - '0/0'::pg_lsn)::bigint AS wal_position,
    s.slot_name IS NOT NULL AS has_slot,
    s.active AS is_active,
    s.restart_lsn::text AS restart_lsn,
    s.confirmed_flush_lsn::text AS confirmed_lsn,
    (here.lsn - s.confirmed_flush_lsn)::bigint AS lag_bytes,
    (here.lsn - s.restart_lsn)::bigint AS retained_bytes,
    pg_catalog.to_jsonb(s) ->> 'wal_status' AS wal_status,
    (pg_catalog.to_jsonb(s) ->> 'safe_wal_size')::bigint AS safe_wal_size,
    pg_catalog.to_jsonb(s) ->> 'inactive_since' AS inactive_since,
    EXISTS (SELECT FROM pg_catalog.pg_publication AS p WHERE p.pubname = %(publication)s) AS has_publication,
    (
        SELECT count(*)
        FROM pg_catalog.pg_publication AS p
        CROSS JOIN LATERAL pg_catalog.pg_get_publication_tables(p.pubname)
        WHERE p.pubname = %(publication)s
    ) AS published_tables
FROM (
    SELECT
        CASE
            WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
            ELSE pg_catalog.pg_current_wal_lsn()
        END AS lsn
) AS here
LEFT JOIN pg_catalog.pg_replication_slots AS s ON s.slot_name = %(slot)s
