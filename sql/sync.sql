-- name: lock_source
-- The first statement of a recording: syncs of one source write one after the other, and each compares with what the
-- previous one wrote. (A lock inside the comparing statement would be taken after that statement's snapshot.)
SELECT id FROM public.sources WHERE id = %(id)s::int FOR NO KEY UPDATE

-- name: wait_for_recording
-- Pages stop waiting for a lock quickly; a recording waits for the previous one.
SET LOCAL lock_timeout = '4s'

-- name: give_way
-- A program that has locked one of the source's tables and waits for the source's row would deadlock with a recording.
-- The recording gives up before deadlock_timeout (1 s) makes the server choose a victim.
SET LOCAL lock_timeout = '500ms'

-- name: record_sync
-- Compares what a sync read on its source with what is recorded, writes the difference, and reports it. One statement:
-- all of it or nothing. A sync that read the source before the last recorded one did writes nothing (is_newest is
-- false): what is recorded already is newer than its caller's call. If another program has written since the source was
-- queried (is_overtaken), the caller rolls back and queries again: that program may know of a change that the source
-- had not made then, and this sync would revert it; or the source has another address now.
WITH
incoming AS (
    SELECT
        i.table_name,
        coalesce(jsonb_object_agg(c.attributes ->> 'column_name', c.attributes) FILTER (WHERE c.ordinal > 0), '{}')
            AS schema_table,
        coalesce(array_agg(c.attributes ->> 'column_name' ORDER BY c.ordinal) FILTER (WHERE c.ordinal > 0), '{}')
            AS column_order,
        nullif(i.source_columns, 'null') AS columns_as_they_are,
        i.is_seen
    FROM jsonb_to_recordset(%(tables)s::jsonb)
        AS i (table_name text, columns jsonb, source_columns jsonb, is_seen boolean)
    LEFT JOIN LATERAL jsonb_array_elements(i.columns) WITH ORDINALITY AS c (attributes, ordinal) ON true
    GROUP BY i.table_name, i.source_columns, i.is_seen
),

-- With the schema_table that they belong to.
described AS (
    SELECT
        i.table_name,
        i.schema_table,
        coalesce(
            (
                SELECT array_agg(c.attributes ->> 'column_name' ORDER BY c.ordinal)
                FROM jsonb_array_elements(i.columns_as_they_are) WITH ORDINALITY AS c (attributes, ordinal)
            ),
            i.column_order
        ) AS column_order,
        CASE WHEN i.columns_as_they_are IS NOT NULL
            THEN jsonb_build_object('of', md5(i.schema_table::text), 'columns', i.columns_as_they_are)
        END AS source_columns,
        i.is_seen
    FROM incoming AS i
),

place AS (
    SELECT o.id
    FROM public.sources AS o
    WHERE
        o.id = %(id)s::int
        AND (o.pg_host, o.pg_port, o.pg_database, o.publication_name, o.replication_name)
        IS NOT DISTINCT FROM
        (%(pg_host)s, %(pg_port)s::int, %(pg_database)s, %(publication_name)s, %(replication_name)s)
),

newest AS (
    INSERT INTO public.source_details_sync_state AS s (source_id, incarnation, source_snapshot, synced_at)
    -- Not VALUES: the source may have been deleted since it was looked up.
    SELECT o.id, %(incarnation)s, %(source_snapshot)s::pg_snapshot, clock_timestamp()
    FROM place AS o
    ON CONFLICT (source_id) DO UPDATE
        SET
            incarnation = excluded.incarnation,
            source_snapshot = excluded.source_snapshot,
            synced_at = excluded.synced_at,
            number = s.number + 1
        WHERE
            s.incarnation <> excluded.incarnation
            OR public.source_details_snapshot_order(excluded.source_snapshot)
            >= public.source_details_snapshot_order(s.source_snapshot)
    RETURNING s.source_id, s.number
),

-- If a database from before the unique constraint has a name twice, the first row counts as the table.
recorded AS (
    SELECT DISTINCT ON (t.table_name)
        t.id,
        t.table_name,
        t.schema_table,
        t.column_order,
        t.source_columns,
        t.is_published,
        versions.highest
    FROM public.table_metadata_list AS t
    CROSS JOIN LATERAL (
        SELECT max(h.version_schema) AS highest
        FROM public.history_schema_evolution AS h
        WHERE h.table_metadata_list_id = t.id
    ) AS versions
    WHERE t.source_id = %(id)s::int
    ORDER BY t.table_name, t.id
),

paired AS (
    SELECT
        r.id,
        r.table_name,
        r.highest,
        NOT r.is_published AS is_back,
        r.schema_table AS old_schema,
        i.schema_table AS new_schema,
        i.column_order,
        i.source_columns,
        r.schema_table IS DISTINCT FROM i.schema_table AS is_rewritten,
        (r.column_order, r.source_columns) IS DISTINCT FROM (i.column_order, i.source_columns) AS is_reordered,
        coalesce(jsonb_typeof(r.schema_table) NOT IN ('object', 'array'), true)
        -- A table may have no columns; without a history, its columns have not been read yet. If the role sees none of its
        -- columns, another program with that role has recorded none: they are filled in, which is no new version.
        OR (r.schema_table IN ('{}', '[]') AND (r.highest IS NULL OR NOT i.is_seen)) AS is_missing
    FROM recorded AS r
    INNER JOIN described AS i ON i.table_name = r.table_name
    CROSS JOIN newest
),

-- Column by column, only for tables whose text differs; the old text may be an object or a list.
column_sides AS (
    SELECT p.id, e.key AS column_name, e.value AS attributes, false AS is_new
    FROM paired AS p
    CROSS JOIN jsonb_each(CASE WHEN jsonb_typeof(p.old_schema) = 'object' THEN p.old_schema ELSE '{}' END) AS e
    WHERE p.is_rewritten AND NOT p.is_missing AND jsonb_typeof(e.value) = 'object'
    UNION ALL
    SELECT p.id, e.value ->> 'column_name', e.value, false
    FROM paired AS p
    CROSS JOIN
        jsonb_array_elements(CASE WHEN jsonb_typeof(p.old_schema) = 'array' THEN p.old_schema ELSE '[]' END) AS e
    WHERE p.is_rewritten AND NOT p.is_missing AND jsonb_typeof(e.value) = 'object'
    UNION ALL
    SELECT p.id, e.key, e.value, true
    FROM paired AS p
    CROSS JOIN jsonb_each(p.new_schema) AS e
    WHERE p.is_rewritten AND NOT p.is_missing
),

column_pairs AS (
    SELECT
        c.id,
        c.column_name,
        (array_agg(c.attributes) FILTER (WHERE NOT c.is_new))[1] AS old,
        (array_agg(c.attributes) FILTER (WHERE c.is_new))[1] AS new
    FROM column_sides AS c
    GROUP BY c.id, c.column_name
),

-- These are no changes: a key that the old text lacks, the case of a type's name, a number written as a string.
column_changes AS (
    SELECT
        c.id,
        c.column_name,
        c.old ->> 'real_data_type' AS old_type,
        c.new ->> 'real_data_type' AS new_type,
        CASE
            WHEN c.old IS NULL THEN 'added'
            WHEN c.new IS NULL THEN 'dropped'
            WHEN d.keys && '{real_data_type,numeric_precision,numeric_scale}' THEN 'retyped'
            ELSE 'altered'
        END AS kind,
        d.keys
    FROM column_pairs AS c
    CROSS JOIN LATERAL (
        SELECT array_agg(n.key ORDER BY n.key) AS keys
        FROM jsonb_each(c.new) AS n
        WHERE
            c.old ? n.key
            AND CASE WHEN n.key = 'real_data_type' THEN upper(c.old ->> n.key) ELSE c.old ->> n.key END
            IS DISTINCT FROM n.value #>> '{}'
    ) AS d
    WHERE c.old IS NULL OR c.new IS NULL OR d.keys IS NOT NULL
),

-- The platform's names: a change that adds a column is a NEW COLUMN, else one that drops a column is a DROP COLUMN.
changed AS (
    SELECT
        p.id,
        p.table_name,
        p.old_schema,
        p.new_schema,
        greatest(p.highest, 1) + 1 AS version,
        CASE
            WHEN bool_or(c.kind = 'added') THEN 'NEW COLUMN'
            WHEN bool_or(c.kind = 'dropped') THEN 'DROP COLUMN'
            ELSE 'CHANGES TYPE'
        END AS changes_type,
        json_agg(
            json_build_object(
                'column_name', c.column_name, 'change', c.kind,
                'old_type', c.old_type, 'new_type', c.new_type, 'attributes', c.keys
            )
            ORDER BY c.column_name
        ) AS columns
    FROM paired AS p
    INNER JOIN column_changes AS c ON c.id = p.id
    GROUP BY p.id, p.table_name, p.old_schema, p.new_schema, p.highest
),

missing AS (
    SELECT i.table_name, i.schema_table, i.column_order, i.source_columns
    FROM described AS i
    CROSS JOIN newest
    WHERE NOT EXISTS (SELECT FROM recorded AS r WHERE r.table_name = i.table_name)
),

added AS (
    INSERT INTO public.table_metadata_list (
        source_id, table_name, schema_table, column_order, source_columns, is_changes_schema
    )
    SELECT %(id)s::int, m.table_name, m.schema_table, m.column_order, m.source_columns, false
    FROM missing AS m
    ORDER BY m.table_name
    -- Another program may be registering the table right now.
    ON CONFLICT DO NOTHING
    RETURNING id, table_name, schema_table
),

kept AS (
    UPDATE public.table_metadata_list AS t
    SET
        schema_table = p.new_schema,
        column_order = p.column_order,
        source_columns = p.source_columns,
        is_published = true,
        is_changes_schema = CASE
            WHEN p.is_missing AND p.is_rewritten THEN false
            ELSE t.is_changes_schema OR EXISTS (SELECT FROM changed AS c WHERE c.id = p.id)
        END,
        updated_at = now()
    FROM paired AS p
    WHERE t.id = p.id AND (p.is_rewritten OR p.is_reordered OR p.is_back)
),

left_publication AS (
    UPDATE public.table_metadata_list AS t
    SET is_published = false, updated_at = now()
    FROM newest
    WHERE
        t.source_id = newest.source_id
        AND t.is_published
        AND t.table_name IS NOT NULL
        AND NOT EXISTS (SELECT FROM described AS i WHERE i.table_name = t.table_name)
    RETURNING t.table_name
),

new_versions AS (
    SELECT a.id, '{}'::jsonb AS old_schema, a.schema_table AS new_schema, 'INITIAL_LOAD' AS changes_type, 1 AS version
    FROM added AS a
    UNION ALL
    SELECT p.id, '{}'::jsonb, p.new_schema, 'INITIAL_LOAD', 1
    FROM paired AS p
    WHERE p.is_missing AND p.is_rewritten AND p.highest IS NULL
    UNION ALL
    SELECT c.id, c.old_schema, c.new_schema, c.changes_type, c.version
    FROM changed AS c
),

versioned AS (
    INSERT INTO public.history_schema_evolution (
        table_metadata_list_id, schema_table_old, schema_table_new, changes_type, version_schema
    )
    SELECT v.id, v.old_schema, v.new_schema, v.changes_type, v.version
    FROM new_versions AS v
    -- Another program may be recording the same version right now.
    ON CONFLICT DO NOTHING
    RETURNING id
),

flagged AS (
    UPDATE public.sources AS s
    SET
        is_publication_enabled = %(has_publication)s::boolean,
        is_replication_enabled = %(has_slot)s::boolean,
        total_tables = (SELECT count(*) FROM described),
        last_check_replication_publication = clock_timestamp(),
        updated_at = CASE
            WHEN
                (s.is_publication_enabled, s.is_replication_enabled, s.total_tables)
                IS DISTINCT FROM
                (%(has_publication)s::boolean, %(has_slot)s::boolean, (SELECT count(*) FROM described))
                THEN clock_timestamp()
            ELSE s.updated_at
        END
    FROM newest
    WHERE s.id = newest.source_id
)

SELECT
    EXISTS (SELECT FROM newest) AS is_newest,
    NOT EXISTS (SELECT FROM place)
    OR (
        EXISTS (SELECT FROM newest)
        AND (
            (
                -- include: tables_edition
            ) <> %(tables_edition)s::bigint
            OR (SELECT count(*) FROM missing) > (SELECT count(*) FROM added)
            OR (SELECT count(*) FROM new_versions) > (SELECT count(*) FROM versioned)
        )
    ) AS is_overtaken,
    (SELECT n.number FROM newest AS n) AS number,
    (SELECT coalesce(array_agg(i.table_name), '{}') FROM described AS i) AS published_names,
    json_build_object(
        'tables_added', (SELECT coalesce(json_agg(a.table_name ORDER BY a.table_name COLLATE "C"), '[]') FROM added AS a),
        'tables_dropped',
        (SELECT coalesce(json_agg(l.table_name ORDER BY l.table_name COLLATE "C"), '[]') FROM left_publication AS l),
        'tables_returned',
        (
            SELECT coalesce(json_agg(p.table_name ORDER BY p.table_name COLLATE "C"), '[]')
            FROM paired AS p
            WHERE p.is_back
        ),
        'tables_filled',
        (
            SELECT coalesce(json_agg(p.table_name ORDER BY p.table_name COLLATE "C"), '[]')
            FROM paired AS p
            WHERE p.is_missing AND p.is_rewritten
        ),
        'tables_changed',
        (
            SELECT
                coalesce(
                    json_agg(
                        json_build_object(
                            'table_name', c.table_name, 'version', c.version,
                            'changes_type', c.changes_type, 'columns', c.columns
                        )
                        ORDER BY c.table_name COLLATE "C"
                    ),
                    '[]'
                )
            FROM changed AS c
        )
    ) AS report
