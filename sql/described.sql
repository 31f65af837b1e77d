-- name: remote_described
-- On a source: one row for each published table, with its names, what is known of it as JSON, and the snapshot in which
-- all of them were read.
--
-- `recorded` of a column is what information_schema shows to this role under its own settings (its views take seconds at
-- ten thousand tables, and its functions are a third of this): that is what the platform's schema monitor records. It is
-- NULL for a column that the role does not see. `actual` is the column as it is; it is the same whatever the settings of
-- the role and of its database. A role that sees no column of a table gets all of them as they are: the platform's
-- monitor skips such a table (is_seen is false). `unread`: why a table could not be read. No row if the publication has
-- more than `most_tables` tables, or twenty times as many columns: their rows would take more memory at once than they may.
WITH RECURSIVE
-- include: published_relations

-- The type that each domain is made of in the end, with its length.
domains AS (
    SELECT t.oid AS domain, t.typbasetype AS base, t.typtypmod AS modifier
    FROM pg_catalog.pg_type AS t
    WHERE t.typtype = 'd'
    UNION ALL
    SELECT d.domain, t.typbasetype, t.typtypmod
    FROM domains AS d
    INNER JOIN pg_catalog.pg_type AS t ON t.oid = d.base AND t.typtype = 'd'
),

-- The columns that the platform takes for a table's key: those of any constraint that shares its name with a primary key
-- that the role sees (information_schema.table_constraints).
seen_keys AS (
    SELECT k.conrelid, pg_catalog.array_agg(u.attnum) AS attnums
    FROM (
        SELECT DISTINCT p.connamespace, p.conname
        FROM pg_catalog.pg_constraint AS p
        INNER JOIN pg_catalog.pg_class AS r ON r.oid = p.conrelid AND r.relkind IN ('r', 'p')
        WHERE
            p.contype = 'p'
            AND (
                pg_catalog.pg_has_role(r.relowner, 'USAGE')
                OR pg_catalog.has_table_privilege(r.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
                OR pg_catalog.has_any_column_privilege(r.oid, 'INSERT, UPDATE, REFERENCES')
            )
    ) AS s
    INNER JOIN pg_catalog.pg_constraint AS k ON k.connamespace = s.connamespace AND k.conname = s.conname
    CROSS JOIN LATERAL pg_catalog.unnest(k.conkey) AS u (attnum)
    WHERE k.contype IN ('p', 'u', 'f')
    GROUP BY k.conrelid
),

-- A session that alters a table holds it, or waits for it, in this mode until it commits.
altered AS (
    SELECT l.relation AS oid
    FROM pg_catalog.pg_locks AS l
    WHERE
        l.mode = 'AccessExclusiveLock'
        AND l.locktype = 'relation'
        AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())
),

-- Each table with its key, in the key's order and without the payload of INCLUDE; and row_key: the columns by which an
-- UPDATE or DELETE that is replicated names its row.
keyed AS (
    SELECT
        c.oid,
        c.relowner,
        c.relreplident,
        c.relkind,
        CASE WHEN c.relkind = 'p' THEN 'root' WHEN c.relispartition THEN 'leaf' END AS part,
        -- from 18: has_hidden_columns
        -- before 18: has_no_hidden_columns
        n.nspname::text AS schema_name,
        c.relname::text AS relation_name,
        (
            -- include: remote_key
        ) AS key,
        k.conkey AS own_key,
        s.attnums AS seen_key,
        CASE c.relreplident
            WHEN 'd' THEN CASE WHEN NOT k.condeferrable THEN k.conkey END
            WHEN 'i'
                THEN (
                    SELECT pg_catalog.array_agg(u.attnum ORDER BY u.place)
                    FROM pg_catalog.pg_index AS i
                    CROSS JOIN LATERAL pg_catalog.unnest(i.indkey) WITH ORDINALITY AS u (attnum, place)
                    WHERE
                        i.indrelid = c.oid
                        AND i.indisreplident
                        -- from 11: and_no_payload
                )
        END AS row_key,
        EXISTS (SELECT FROM altered AS x WHERE x.oid = c.oid) AS is_altered,
        coalesce(
            pg_catalog.pg_has_role(c.relowner, 'USAGE')
            OR pg_catalog.has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES'),
            false
        ) AS is_any_visible,
        listed.column_list,
        listed.filter,
        listed.filter_columns
    FROM published AS m
    INNER JOIN pg_catalog.pg_class AS c ON c.oid = m.oid
    INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_constraint AS k ON k.conrelid = c.oid AND k.contype = 'p'
    LEFT JOIN seen_keys AS s ON s.conrelid = c.oid
    -- from 15: column_list
    -- before 15: no_column_list
),

-- What does not depend on settings, and defaults as the role's own settings show them. No table is given to pg_get_expr(),
-- which would lock it: a default refers to no column. (A CTE that is used twice, like this one, or is volatile, like the
-- next one, is computed as a whole.)
attributes AS (
    SELECT
        t.oid,
        t.own_key,
        t.column_list,
        t.is_altered,
        t.is_any_visible,
        a.attnum,
        a.attname,
        a.atttypid,
        a.atttypmod,
        a.attidentity,
        a.attnum = ANY (t.own_key) AS is_key,
        a.attnum = ANY (t.seen_key) AS is_seen_key,
        ad.adbin,
        ty.typtype = 'd' AS is_domain,
        facts.generated,
        -- As information_schema's _pg_numeric_scale and _pg_numeric_precision say: bits or digits, and a numeric's modifier has
        -- both, after the four bytes of a header.
        CASE
            WHEN facts.type_oid IN ('pg_catalog.int2'::regtype, 'pg_catalog.int4'::regtype, 'pg_catalog.int8'::regtype)
                THEN 0
            WHEN facts.type_oid = 'pg_catalog.numeric'::regtype
                THEN CASE WHEN facts.modifier <> -1 THEN (facts.modifier - 4) & 65535 END
        END AS numeric_scale,
        CASE WHEN facts.generated = '' THEN pg_catalog.pg_get_expr(ad.adbin, 0) END AS recorded_default,
        coalesce(
            pg_catalog.pg_has_role(t.relowner, 'USAGE')
            OR pg_catalog.has_column_privilege(t.oid, a.attnum, 'SELECT, INSERT, UPDATE, REFERENCES'),
            false
        ) AS is_visible,
        CASE WHEN a.attnotnull OR (ty.typtype = 'd' AND ty.typnotnull) THEN 'NO' ELSE 'YES' END AS is_nullable,
        CASE facts.type_oid
            WHEN 'pg_catalog.int2'::regtype THEN 16
            WHEN 'pg_catalog.int4'::regtype THEN 32
            WHEN 'pg_catalog.int8'::regtype THEN 64
            WHEN 'pg_catalog.float4'::regtype THEN 24
            WHEN 'pg_catalog.float8'::regtype THEN 53
            WHEN 'pg_catalog.numeric'::regtype
                THEN CASE WHEN facts.modifier <> -1 THEN ((facts.modifier - 4) >> 16) & 65535 END
        END AS numeric_precision,
        -- What information_schema calls by its own name has none here; a setting may change how that name is written.
        facts.own_name,
        coalesce(facts.own_name, upper(pg_catalog.format_type(facts.type_oid, NULL))) AS recorded_type,
        facts.type_oid,
        ad.adbin IS NOT NULL AND facts.generated = '' AS has_default
    FROM keyed AS t
    INNER JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_attrdef AS ad ON ad.adrelid = a.attrelid AND ad.adnum = a.attnum
    INNER JOIN pg_catalog.pg_type AS ty ON ty.oid = a.atttypid
    INNER JOIN pg_catalog.pg_namespace AS nt ON nt.oid = ty.typnamespace
    LEFT JOIN pg_catalog.pg_type AS bt ON ty.typtype = 'd' AND bt.oid = ty.typbasetype
    LEFT JOIN pg_catalog.pg_namespace AS nbt ON nbt.oid = bt.typnamespace
    CROSS JOIN LATERAL (
        SELECT
            -- from 12: generated
            -- before 12: never_generated_column
            CASE
                WHEN coalesce(bt.typname, ty.typname) IN ('geometry', 'geography')
                    THEN upper(coalesce(bt.typname, ty.typname))
                WHEN coalesce(bt.typelem, ty.typelem) <> 0 AND coalesce(bt.typlen, ty.typlen) = -1 THEN 'ARRAY'
                WHEN coalesce(nbt.nspname, nt.nspname) <> 'pg_catalog' THEN 'USER-DEFINED'
            END AS own_name,
            coalesce(bt.oid, ty.oid) AS type_oid,
            CASE WHEN ty.typtype = 'd' THEN ty.typtypmod ELSE a.atttypmod END AS modifier
    ) AS facts
),

-- Settings under which each value has one text. They hold from when all attributes are computed; what depends on them
-- asks for is_done, so that it is computed later.
fixed AS (
    SELECT
        count(*) >= 0 AS is_done,
        set_config('search_path', 'public', true) AS search_path,
        set_config('TimeZone', 'UTC', true) AS time_zone,
        set_config('DateStyle', 'ISO, MDY', true) AS date_style,
        set_config('IntervalStyle', 'postgres', true) AS interval_style,
        set_config('bytea_output', 'hex', true) AS bytea_output,
        set_config('extra_float_digits', '1', true) AS extra_float_digits,
        set_config('lc_monetary', 'C', true) AS lc_monetary,
        set_config('standard_conforming_strings', 'on', true) AS standard_conforming_strings,
        set_config('quote_all_identifiers', 'off', true) AS quote_all_identifiers
    FROM attributes
),

columns AS (
    SELECT
        a.oid,
        a.attnum,
        a.attname,
        a.is_any_visible,
        a.generated <> '' AND a.is_altered AS is_unread,
        typed.data_type = '???' AS is_torn,
        CASE WHEN a.is_visible OR NOT a.is_any_visible THEN
            pg_catalog.json_build_object(
                'column_name', a.attname,
                'is_nullable', a.is_nullable,
                'numeric_precision', a.numeric_precision,
                'numeric_scale', a.numeric_scale,
                'real_data_type', a.recorded_type,
                'is_primary_key', coalesce(CASE WHEN a.is_any_visible THEN a.is_seen_key ELSE a.is_key END, false),
                'has_default', a.has_default,
                'default_value', a.recorded_default
            )
        END AS recorded,
        CASE
            WHEN
                a.is_domain
                OR a.is_key
                OR a.attidentity <> ''
                OR a.generated <> ''
                OR a.column_list IS NOT NULL
                THEN
                    (
                        typed.actual::jsonb
                        || pg_catalog.jsonb_strip_nulls(
                            pg_catalog.jsonb_build_object(
                                'base_type',
                                CASE WHEN a.is_domain AND f.is_done THEN (
                                    SELECT pg_catalog.format_type(d.base, d.modifier)
                                    FROM domains AS d
                                    INNER JOIN pg_catalog.pg_type AS b ON b.oid = d.base AND b.typtype <> 'd'
                                    WHERE d.domain = a.atttypid
                                )
                                END,
                                'key_position', pg_catalog.array_position(a.own_key, a.attnum),
                                'identity', CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END,
                                'generated', CASE a.generated WHEN 's' THEN 'stored' WHEN 'v' THEN 'virtual' END,
                                'generation_expression',
                                CASE WHEN a.generated <> '' AND f.is_done AND NOT a.is_altered
                                    THEN pg_catalog.pg_get_expr(a.adbin, a.oid)
                                END,
                                'is_published',
                                CASE
                                    WHEN a.column_list IS NOT NULL THEN nullif(a.attnum = ANY (a.column_list), true)
                                    WHEN a.generated = 's' THEN nullif(p.is_generated_published, true)
                                    WHEN a.generated = 'v' THEN false
                                END
                            )
                        )
                    )::json
            ELSE typed.actual
        END AS actual
    FROM attributes AS a
    CROSS JOIN publication AS p
    CROSS JOIN fixed AS f
    CROSS JOIN LATERAL (
        SELECT
            CASE WHEN f.is_done THEN pg_catalog.format_type(a.atttypid, a.atttypmod) END AS data_type,
            CASE WHEN f.is_done AND a.own_name IS NULL THEN upper(pg_catalog.format_type(a.type_oid, NULL)) END
                AS real_data_type
        OFFSET 0
    ) AS exact
    CROSS JOIN LATERAL (
        SELECT
            exact.data_type,
            pg_catalog.json_build_object(
                'column_name', a.attname,
                'is_nullable', a.is_nullable,
                'numeric_precision', a.numeric_precision,
                -- A scale is stored in 11 bits with a sign, which information_schema does not know.
                'numeric_scale', CASE WHEN a.numeric_scale > 1000 THEN a.numeric_scale - 2048 ELSE a.numeric_scale END,
                'real_data_type', coalesce(a.own_name, exact.real_data_type),
                'is_primary_key', coalesce(a.is_key, false),
                'has_default', a.has_default,
                'default_value', CASE WHEN f.is_done AND a.generated = '' THEN pg_catalog.pg_get_expr(a.adbin, 0) END,
                'data_type', exact.data_type
            ) AS actual
    ) AS typed
),

described AS (
    SELECT
        c.oid,
        pg_catalog.json_object_agg(c.attname, c.attnum ORDER BY c.attnum) AS attnums,
        bool_or(c.is_any_visible) AS is_seen,
        bool_or(c.is_unread) AS is_unread,
        bool_or(c.is_torn) AS is_torn,
        pg_catalog.json_agg(
            pg_catalog.json_build_object('recorded', c.recorded, 'actual', c.actual)
            ORDER BY c.attnum
        ) AS columns
    FROM columns AS c
    GROUP BY c.oid
)

SELECT
    (SELECT pg_catalog.txid_current_snapshot())::text AS source_snapshot,
    t.schema_name,
    t.relation_name,
    t.key,
    CASE
        WHEN d.is_unread OR (t.filter IS NOT NULL AND t.is_altered) THEN 'another session is altering it'
        WHEN d.is_torn THEN 'it was altered while it was read'
    END AS unread,
    changing.statements || ' fail: ' || changing.why AS fails,
    pg_catalog.json_build_object(
        'is_seen', coalesce(d.is_seen, false),
        -- A rename keeps these numbers: by them a renamed column is told from a dropped and a new one.
        'relation', t.oid::bigint,
        'attnums', coalesce(d.attnums, '{}'),
        'columns', coalesce(d.columns, '[]'),
        'replication',
        CASE
            WHEN t.part IS NULL THEN replicated.how
            ELSE (replicated.how::jsonb || pg_catalog.jsonb_build_object('partition', t.part))::json
        END
    )::text AS described
FROM keyed AS t
-- FULL: what is described is keyed. A planner that expects few tables would go through all of them for each one of a LEFT
-- JOIN; a FULL JOIN hashes, or merges.
FULL JOIN described AS d ON d.oid = t.oid
CROSS JOIN LATERAL (
    SELECT
        nullif(
            concat_ws(' and ', CASE WHEN p.pubupdate THEN 'UPDATE' END, CASE WHEN p.pubdelete THEN 'DELETE' END), ''
        ) AS statements,
        CASE
            -- Each partition answers for itself.
            WHEN t.relkind = 'p' THEN NULL
            WHEN t.relreplident = 'n' THEN 'its REPLICA IDENTITY is NOTHING'
            WHEN t.relreplident = 'f' AND t.has_hidden_columns
                THEN 'its REPLICA IDENTITY is FULL, and it has a generated column that is not published'
            WHEN t.relreplident = 'f' AND t.column_list IS NOT NULL
                THEN 'its REPLICA IDENTITY is FULL, but the publication has not all of its columns'
            WHEN t.relreplident = 'f' THEN NULL
            WHEN t.row_key IS NULL AND t.relreplident = 'i' THEN 'the index of its REPLICA IDENTITY is gone'
            WHEN t.row_key IS NULL AND t.own_key IS NOT NULL THEN 'its primary key is deferrable'
            WHEN t.row_key IS NULL THEN 'it has no primary key'
            WHEN NOT t.row_key <@ t.column_list THEN 'the publication lacks a column of its key'
            WHEN NOT t.filter_columns <@ t.row_key THEN 'the row filter uses a column outside its key'
        END AS why
    FROM publication AS p
) AS changing
CROSS JOIN LATERAL (
    SELECT
        pg_catalog.json_build_object(
            'replica_identity',
            CASE t.relreplident WHEN 'n' THEN 'nothing' WHEN 'f' THEN 'full' WHEN 'i' THEN 'index' ELSE 'default' END,
            'identity_columns',
            (
                SELECT pg_catalog.json_agg(a.attname ORDER BY u.place)
                FROM pg_catalog.unnest(t.row_key) WITH ORDINALITY AS u (attnum, place)
                INNER JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = u.attnum
            ),
            'row_filter',
            CASE WHEN (SELECT f.is_done FROM fixed AS f) AND NOT t.is_altered THEN pg_catalog.pg_get_expr(t.filter, t.oid) END,
            'fails', changing.statements || ' fail: ' || changing.why
        ) AS how
) AS replicated
WHERE (
    SELECT greatest(count(*), sum(c.relnatts) / 20) <= %(most_tables)s::int
    FROM published AS m
    INNER JOIN pg_catalog.pg_class AS c ON c.oid = m.oid
)

-- name: has_hidden_columns
-- From 18 on REPLICA IDENTITY FULL has to do without no column, generated ones included.
EXISTS (
    SELECT
    FROM pg_catalog.pg_attribute AS a
    CROSS JOIN publication AS p
    WHERE a.attrelid = c.oid AND (a.attgenerated = 'v' OR (a.attgenerated = 's' AND NOT p.is_generated_published))
) AS has_hidden_columns,

-- name: has_no_hidden_columns
-- The same before 18.
false AS has_hidden_columns,

-- name: and_no_payload
-- From 11 on an index may carry columns that are no part of its key.
AND u.place <= i.indnkeyatts

-- name: generated
-- How a column is generated: s (stored), v (virtual), or not.
a.attgenerated AS generated,

-- name: never_generated_column
-- The same before 12.
'' AS generated,

-- name: column_list
-- What the publication says of one table: its columns and its row filter; of which columns the filter is made is known only
-- if there is no list.
LEFT JOIN LATERAL (
    SELECT
        r.prattrs::int2 [] AS column_list,
        r.prqual AS filter,
        CASE WHEN r.prattrs IS NULL THEN
            ARRAY(
                SELECT d.refobjsubid::int2
                FROM pg_catalog.pg_depend AS d
                WHERE
                    d.classid = 'pg_catalog.pg_publication_rel'::regclass
                    AND d.objid = r.oid
                    AND d.refclassid = 'pg_catalog.pg_class'::regclass
                    AND d.refobjid = c.oid
                    AND d.refobjsubid > 0
            )
        END AS filter_columns
    FROM publication AS p
    INNER JOIN pg_catalog.pg_publication_rel AS r ON r.prpubid = p.oid
    WHERE r.prrelid = c.oid
) AS listed ON true

-- name: no_column_list
-- The same before 15.
CROSS JOIN (SELECT NULL::int2 [] AS column_list, NULL::pg_node_tree AS filter, NULL::int2 [] AS filter_columns) AS listed
