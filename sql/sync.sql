-- name: sync_start
-- What a sync has to know before it asks a source: how to connect to it, the edition of its tables' rows, the number of
-- its last sync, and the digest of each table's description at that sync, by the table's key, if what is recorded still is
-- that very description. No row for an unknown id.
SELECT
    (
        -- include: tables_edition
    ) AS tables_edition,
    (
        SELECT y.number
        FROM public.source_details_sync_state AS y
        WHERE y.source_id = c.id
    ) AS sync_number,
    (
        SELECT
            coalesce(
                json_object_agg(t.key, t.at_source ->> 'digest') FILTER (WHERE t.at_source ->> 'digest' IS NOT NULL), '{}'
            )
        FROM public.source_details_registered AS t
        WHERE t.source_id = c.id AND t.is_published AND t.at_source ->> 'of' = md5(t.schema_table::text)
    ) AS digests,
    -- include: connection_columns
FROM public.sources AS c
WHERE c.id = %(id)s::int

-- name: tables_edition
-- Part of the one above and of record_sync: the edition changes as soon as anyone writes a row of the source's tables.
-- xmin names the writer even if it is a subtransaction; no snapshot says whether a subtransaction was in progress.
SELECT coalesce(hashtextextended(string_agg(concat(t.id, ':', t.row_version), ',' ORDER BY t.id), 0), 0)
FROM public.source_details_registered AS t
WHERE t.source_id = %(id)s::int

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
-- false): what is recorded already is newer than its caller's call. Snapshots tell which sync read first, except if no
-- other sync was recorded since before this one asked (sync_number): then this one is the later, and if its snapshot says
-- otherwise, the source was set back or replaced by a copy (is_set_back). If another program has written since the source was
-- queried (is_overtaken), the caller rolls back and queries again: that program may know of a change that the source
-- had not made then, and this sync would revert it; or the source has another address now.
WITH
incoming AS (
    SELECT
        i.key,
        i.schema_name,
        i.schema_name = 'public' AS is_public,
        CASE WHEN i.schema_name = 'public' THEN i.relation_name ELSE i.key END AS table_name,
        i.digest,
        -- NULL: the table is as it is recorded, or could not be read.
        nullif(i.described, 'null') AS described
    FROM jsonb_to_recordset(%(tables)s::jsonb)
        AS i (key text, schema_name text, relation_name text, digest text, described jsonb)
),

-- `recorded`: as the platform's monitor would write the column; NULL if the source's role does not see it.
incoming_columns AS MATERIALIZED (
    SELECT
        i.key,
        c.ordinal,
        c.value -> 'actual' ->> 'column_name' AS column_name,
        nullif(c.value -> 'recorded', 'null') AS recorded,
        c.value -> 'actual' AS actual
    FROM incoming AS i
    CROSS JOIN LATERAL jsonb_array_elements(i.described -> 'columns') WITH ORDINALITY AS c (value, ordinal)
),

described AS (
    SELECT
        i.*,
        (i.described -> 'is_seen')::boolean AS is_seen,
        text.schema_table,
        text.column_order,
        jsonb_build_object(
            'of', md5(text.schema_table::text),
            'digest', i.digest,
            'columns', text.columns,
            -- As source_details_live would compute it, for as long as the table stays the same.
            'shown', (
                SELECT string_agg(c.shown::text, ',' ORDER BY c.ordinal)
                FROM public.source_details_columns(text.columns) AS c
            ),
            'replication', i.described -> 'replication',
            -- Not the OID alone: on another server, or after a recovery to a point in time, it is another table's, and the
            -- numbers are other columns'. NULL if it is unknown which server this is.
            'relation', nullif(%(incarnation)s::text, '') || '/' || (i.described ->> 'relation'),
            'attnums', i.described -> 'attnums'
        ) AS at_source
    FROM incoming AS i
    LEFT JOIN (
        SELECT
            c.key,
            coalesce(jsonb_object_agg(c.column_name, c.recorded) FILTER (WHERE c.recorded IS NOT NULL), '{}')
                AS schema_table,
            array_agg(c.column_name ORDER BY c.ordinal) AS column_order,
            jsonb_agg(c.actual || jsonb_build_object('of', md5(c.recorded::text)) ORDER BY c.ordinal) AS columns
        FROM incoming_columns AS c
        GROUP BY c.key
    ) AS listed ON listed.key = i.key
    CROSS JOIN LATERAL (
        SELECT
            coalesce(listed.schema_table, '{}') AS schema_table,
            coalesce(listed.column_order, '{}') AS column_order,
            coalesce(listed.columns, '[]') AS columns
    ) AS text
    WHERE i.described IS NOT NULL
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

set_back AS (
    SELECT
        EXISTS (
            SELECT
            FROM public.source_details_sync_state AS y
            WHERE
                y.source_id = %(id)s::int
                -- Not if it is unknown which server this is.
                AND y.incarnation = %(incarnation)s
                AND y.incarnation <> ''
                AND public.source_details_snapshot_order(%(source_snapshot)s::pg_snapshot)
                < public.source_details_snapshot_order(y.source_snapshot)
        ) AS is_so
),

newest AS (
    INSERT INTO public.source_details_sync_state AS s (source_id, incarnation, source_snapshot, synced_at, seen)
    -- Not VALUES: the source may have been deleted since it was looked up.
    SELECT
        o.id,
        %(incarnation)s,
        %(source_snapshot)s::pg_snapshot,
        clock_timestamp(),
        -- For a day: the next sync finds nothing any more.
        %(seen)s::jsonb || jsonb_build_object(
            'set_back_at',
            CASE
                WHEN set_back.is_so THEN to_jsonb(clock_timestamp())
                ELSE (
                    SELECT y.seen -> 'set_back_at'
                    FROM public.source_details_sync_state AS y
                    WHERE y.source_id = o.id
                )
            END
        )
    FROM place AS o
    CROSS JOIN set_back
    ON CONFLICT (source_id) DO UPDATE
        SET
            incarnation = excluded.incarnation,
            source_snapshot = excluded.source_snapshot,
            synced_at = excluded.synced_at,
            seen = excluded.seen,
            number = s.number + 1
        WHERE
            s.incarnation <> excluded.incarnation
            OR s.number = %(sync_number)s::bigint
            OR public.source_details_snapshot_order(excluded.source_snapshot)
            >= public.source_details_snapshot_order(s.source_snapshot)
    RETURNING s.source_id, s.number
),

-- If a database from before the unique constraint has a name twice, the first row counts as the table.
recorded AS (
    SELECT DISTINCT ON (t.schema_name = 'public', t.table_name)
        t.id,
        t.schema_name = 'public' AS is_public,
        t.table_name,
        t.schema_table,
        t.column_order,
        t.at_source,
        t.is_published,
        t.row_version,
        versions.highest
    FROM public.source_details_registered AS t
    CROSS JOIN LATERAL (
        SELECT max(h.version) AS highest
        FROM public.source_details_versions AS h
        WHERE h.table_id = t.id
    ) AS versions
    WHERE t.source_id = %(id)s::int
    ORDER BY t.schema_name = 'public', t.table_name, t.id
),

paired AS (
    SELECT
        r.id,
        r.is_public,
        r.table_name,
        r.row_version,
        r.highest,
        NOT r.is_published AS is_back,
        r.schema_table AS old_schema,
        r.at_source AS old_at_source,
        i.key,
        own.new_schema,
        i.is_seen,
        i.column_order,
        own.at_source,
        r.schema_table IS DISTINCT FROM own.new_schema AS is_rewritten,
        (r.column_order, r.at_source) IS DISTINCT FROM (i.column_order, own.at_source) AS is_seen_anew,
        coalesce(jsonb_typeof(r.schema_table) NOT IN ('object', 'array'), true)
        -- A table may have no columns; without a history, its columns have not been read yet. If the role sees none of its
        -- columns, another program with that role has recorded none: they are filled in, which is no new version.
        OR (r.schema_table IN ('{}', '[]') AND (r.highest IS NULL OR NOT i.is_seen)) AS is_missing
    FROM recorded AS r
    INNER JOIN described AS i ON i.is_public = r.is_public AND i.table_name = r.table_name
    CROSS JOIN newest
    -- A role that sees no column any more: the platform's monitor skips the table, so what is recorded stays.
    CROSS JOIN LATERAL (
        SELECT NOT i.is_seen AND jsonb_typeof(r.schema_table) = 'object' AND r.schema_table <> '{}' AS is_skipped
    ) AS platform
    CROSS JOIN LATERAL (
        SELECT
            CASE WHEN platform.is_skipped THEN r.schema_table ELSE i.schema_table END AS new_schema,
            CASE
                WHEN platform.is_skipped
                    THEN
                        i.at_source || jsonb_build_object(
                            'of', md5(r.schema_table::text),
                            'columns', (
                                SELECT
                                    jsonb_agg(
                                        c.value || jsonb_build_object(
                                            'of', md5((r.schema_table -> (c.value ->> 'column_name'))::text)
                                        )
                                        ORDER BY c.ordinal
                                    )
                                FROM jsonb_array_elements(i.at_source -> 'columns') WITH ORDINALITY AS c (value, ordinal)
                            )
                        )
                ELSE i.at_source
            END AS at_source
    ) AS own
),

-- Column by column, only for tables that differ. What is recorded of a column may be newer than what was seen at the
-- source: then only what is recorded counts.
examined AS (
    SELECT p.*
    FROM paired AS p
    WHERE (p.is_rewritten OR p.is_seen_anew) AND NOT p.is_missing
),

seen_before AS MATERIALIZED (
    SELECT e.id, held.ordinal, held.value ->> 'column_name' AS column_name, held.value AS actual
    FROM examined AS e
    CROSS JOIN LATERAL jsonb_array_elements(e.old_at_source -> 'columns') WITH ORDINALITY AS held (value, ordinal)
),

before AS (
    SELECT
        coalesce(entry.id, held.id) AS id,
        coalesce(entry.column_name, held.column_name) AS column_name,
        entry.attributes AS recorded,
        CASE
            WHEN entry.id IS NULL OR held.actual ->> 'of' = md5(entry.attributes::text) THEN held.actual
        END AS actual
    FROM (
        SELECT e.id, listed.column_name, listed.attributes
        FROM examined AS e
        CROSS JOIN LATERAL public.source_details_entries(e.old_schema) AS listed
    ) AS entry
    FULL JOIN seen_before AS held ON held.id = entry.id AND held.column_name = entry.column_name
    -- A column that the role did not see was never recorded. Any other that is not recorded has been dropped since.
    WHERE entry.id IS NOT NULL OR held.actual ->> 'of' IS NULL
),

after AS (
    SELECT e.id, c.ordinal, c.column_name, CASE WHEN e.is_seen THEN c.recorded END AS recorded, c.actual
    FROM examined AS e
    INNER JOIN incoming_columns AS c ON c.key = e.key
),

-- If the column was not seen at the source before, these are no changes: a key that the old text lacks, the case of a
-- type's name, a number written as a string, and a value that is either as recorded or as it is at the source.
column_changes AS (
    SELECT
        c.id,
        c.column_name,
        CASE
            WHEN c.is_new THEN 'added'
            WHEN c.is_gone THEN 'dropped'
            WHEN d.keys && '{real_data_type,numeric_precision,numeric_scale,data_type,base_type}' THEN 'retyped'
            ELSE 'altered'
        END AS kind,
        CASE WHEN c.is_new THEN NULL ELSE public.source_details_type(coalesce(c.old_actual, c.old_recorded)) END
            AS old_type,
        CASE
            WHEN c.is_gone THEN NULL
            WHEN c.old_actual IS NOT NULL OR c.is_new THEN public.source_details_type(c.new_actual)
            ELSE public.source_details_type(coalesce(c.new_recorded, c.new_actual) - 'data_type')
        END AS new_type,
        d.keys
    FROM (
        SELECT
            coalesce(o.id, n.id) AS id,
            coalesce(o.column_name, n.column_name) AS column_name,
            o.recorded AS old_recorded,
            o.actual AS old_actual,
            n.recorded AS new_recorded,
            n.actual AS new_actual,
            o.id IS NULL AS is_new,
            n.id IS NULL AS is_gone
        FROM before AS o
        FULL JOIN after AS n ON n.id = o.id AND n.column_name = o.column_name
    ) AS c
    INNER JOIN examined AS e ON e.id = c.id
    CROSS JOIN LATERAL (
        SELECT array_agg(k.key ORDER BY k.key) AS keys
        FROM jsonb_object_keys(coalesce(c.old_actual - 'of', '{}') || c.new_actual) AS k (key)
        CROSS JOIN LATERAL (
            SELECT
                CASE
                    WHEN k.key = 'real_data_type' THEN upper(c.old_recorded ->> k.key)
                    ELSE c.old_recorded ->> k.key
                END AS before
        ) AS said
        WHERE
            CASE
                WHEN c.old_actual IS NOT NULL THEN c.old_actual -> k.key IS DISTINCT FROM c.new_actual -> k.key
                ELSE
                    c.old_recorded ? k.key
                    AND (c.new_recorded IS NOT NULL OR k.key <> 'is_primary_key')
                    AND said.before IS DISTINCT FROM coalesce(c.new_recorded, c.new_actual) ->> k.key
                    AND said.before IS DISTINCT FROM c.new_actual ->> k.key
            END
    ) AS d
    WHERE
        c.is_gone
        OR d.keys IS NOT NULL
        OR (
            c.is_new
            -- A column that the role does not see is no new one if nobody has looked for it yet, or if it was seen before:
            -- then the role lost its right.
            AND (
                c.new_recorded IS NOT NULL
                OR (
                    e.old_at_source IS NOT NULL
                    AND NOT EXISTS (
                        SELECT
                        FROM seen_before AS h
                        WHERE h.id = c.id AND h.column_name = c.column_name
                    )
                )
            )
        )
),

-- What changed of a table besides its columns: the order of those that it keeps, and which rows arrive.
table_changes AS (
    SELECT
        e.id,
        orders.before IS DISTINCT FROM orders.after AS is_reordered,
        e.old_at_source -> 'replication' ->> 'row_filter' AS old_filter,
        e.at_source -> 'replication' ->> 'row_filter' AS new_filter
    FROM examined AS e
    LEFT JOIN (
        SELECT
            h.id,
            array_agg(n.column_name ORDER BY h.ordinal) AS before,
            array_agg(n.column_name ORDER BY n.ordinal) AS after
        FROM seen_before AS h
        INNER JOIN after AS n ON n.id = h.id AND n.column_name = h.column_name
        GROUP BY h.id
    ) AS orders ON orders.id = e.id
    WHERE e.old_at_source IS NOT NULL
),

-- The platform's names: a change that adds a column is a NEW COLUMN, else one that drops a column is a DROP COLUMN.
changed AS (
    SELECT
        p.id,
        p.is_public,
        p.table_name,
        p.old_schema,
        p.new_schema,
        p.at_source,
        greatest(p.highest, 1) + 1 AS version,
        CASE
            WHEN c.has_added THEN 'NEW COLUMN'
            WHEN c.has_dropped THEN 'DROP COLUMN'
            ELSE 'CHANGES TYPE'
        END AS changes_type,
        json_build_object(
            'table_id', p.id,
            'table_name', p.table_name,
            'version', greatest(p.highest, 1) + 1,
            'changes_type',
            CASE
                WHEN c.has_added THEN 'NEW COLUMN'
                WHEN c.has_dropped THEN 'DROP COLUMN'
                ELSE 'CHANGES TYPE'
            END,
            'columns', coalesce(c.columns, '[]'),
            'is_reordered', coalesce(t.is_reordered, false),
            'row_filter',
            CASE WHEN t.old_filter IS DISTINCT FROM t.new_filter
                THEN json_build_object('old', t.old_filter, 'new', t.new_filter)
            END
        ) AS report
    FROM examined AS p
    LEFT JOIN (
        SELECT
            c.id,
            bool_or(c.kind = 'added') AS has_added,
            bool_or(c.kind = 'dropped') AS has_dropped,
            json_agg(
                json_build_object(
                    'column_name', c.column_name, 'change', c.kind,
                    'old_type', c.old_type, 'new_type', c.new_type, 'attributes', c.keys
                )
                ORDER BY c.column_name
            ) AS columns
        FROM column_changes AS c
        GROUP BY c.id
    ) AS c ON c.id = p.id
    -- FULL: each of these is examined. A planner that expects few tables would go through all of them for each one of a
    -- LEFT JOIN; a FULL JOIN hashes, or merges.
    FULL JOIN table_changes AS t ON t.id = p.id
    WHERE c.id IS NOT NULL OR t.is_reordered OR t.old_filter IS DISTINCT FROM t.new_filter
),

missing AS (
    SELECT i.is_public, i.schema_name, i.table_name, d.schema_table, d.column_order, d.at_source
    FROM incoming AS i
    LEFT JOIN described AS d ON d.key = i.key
    CROSS JOIN newest
    WHERE NOT EXISTS (SELECT FROM recorded AS r WHERE r.is_public = i.is_public AND r.table_name = i.table_name)
),

added_public AS (
    INSERT INTO public.table_metadata_list (
        source_id, table_name, schema_table, column_order, at_source, is_changes_schema
    )
    SELECT %(id)s::int, m.table_name, m.schema_table, m.column_order, m.at_source, false
    FROM missing AS m
    WHERE m.is_public
    ORDER BY m.table_name
    -- Another program may be registering the table right now.
    ON CONFLICT DO NOTHING
    RETURNING id, table_name, schema_table, at_source
),

added_other AS (
    INSERT INTO public.source_details_other_tables (
        source_id, schema_name, table_name, schema_table, column_order, at_source, is_changes_schema
    )
    SELECT %(id)s::int, m.schema_name, m.table_name, m.schema_table, m.column_order, m.at_source, false
    FROM missing AS m
    WHERE NOT m.is_public
    ORDER BY m.table_name
    ON CONFLICT DO NOTHING
    RETURNING id, table_name, schema_table, at_source
),

added AS (
    SELECT a.*, true AS is_public
    FROM added_public AS a
    UNION ALL
    SELECT a.*, false AS is_public
    FROM added_other AS a
),

kept AS (
    SELECT
        p.*,
        CASE
            WHEN p.is_missing AND p.is_rewritten THEN false
            WHEN EXISTS (SELECT FROM changed AS c WHERE c.id = p.id) THEN true
        END AS is_changes_schema
    FROM paired AS p
    WHERE p.is_rewritten OR p.is_seen_anew OR p.is_back
),

kept_public AS (
    UPDATE public.table_metadata_list AS t
    SET
        schema_table = k.new_schema,
        column_order = k.column_order,
        at_source = k.at_source,
        is_published = true,
        is_changes_schema = coalesce(k.is_changes_schema, t.is_changes_schema),
        updated_at = now()
    FROM kept AS k
    -- An UPDATE that waits for another program's lock continues with the row that this program wrote. It must not write
    -- over that: the row is left, and the sync is overtaken.
    WHERE k.is_public AND t.id = k.id AND t.xmin = k.row_version
    RETURNING t.id
),

kept_other AS (
    UPDATE public.source_details_other_tables AS t
    SET
        schema_table = k.new_schema,
        column_order = k.column_order,
        at_source = k.at_source,
        is_published = true,
        is_changes_schema = coalesce(k.is_changes_schema, t.is_changes_schema),
        updated_at = now()
    FROM kept AS k
    WHERE NOT k.is_public AND t.id = k.id AND t.xmin = k.row_version
    RETURNING t.id
),

gone AS (
    SELECT t.id, t.schema_name = 'public' AS is_public, t.table_name, t.row_version
    FROM public.source_details_registered AS t
    CROSS JOIN newest
    WHERE
        t.source_id = %(id)s::int
        AND t.is_published
        AND t.table_name IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM incoming AS i
            WHERE i.is_public = (t.schema_name = 'public') AND i.table_name = t.table_name
        )
),

gone_public AS (
    UPDATE public.table_metadata_list AS t
    SET is_published = false, updated_at = now()
    FROM gone AS g
    WHERE g.is_public AND t.id = g.id AND t.xmin = g.row_version
    RETURNING t.id
),

gone_other AS (
    UPDATE public.source_details_other_tables AS t
    SET is_published = false, updated_at = now()
    FROM gone AS g
    WHERE NOT g.is_public AND t.id = g.id AND t.xmin = g.row_version
    RETURNING t.id
),

-- A table that is published again, but could not be read: its columns stay as they are recorded.
back_public AS (
    UPDATE public.table_metadata_list AS t
    SET is_published = true, updated_at = now()
    FROM incoming AS i
    CROSS JOIN newest
    WHERE
        i.described IS NULL AND i.is_public
        AND t.source_id = newest.source_id AND t.table_name = i.table_name AND NOT t.is_published
),

back_other AS (
    UPDATE public.source_details_other_tables AS t
    SET is_published = true, updated_at = now()
    FROM incoming AS i
    CROSS JOIN newest
    WHERE
        i.described IS NULL AND NOT i.is_public
        AND t.source_id = newest.source_id AND t.table_name = i.table_name AND NOT t.is_published
),

new_versions AS (
    SELECT
        a.id, a.is_public, '{}'::jsonb AS old_schema, a.schema_table AS new_schema, a.at_source,
        'INITIAL_LOAD' AS changes_type, 1 AS version
    FROM added AS a
    WHERE a.schema_table IS NOT NULL
    UNION ALL
    SELECT p.id, p.is_public, '{}'::jsonb, p.new_schema, p.at_source, 'INITIAL_LOAD', 1
    FROM paired AS p
    WHERE p.is_missing AND p.is_rewritten AND p.highest IS NULL
    UNION ALL
    SELECT c.id, c.is_public, c.old_schema, c.new_schema, c.at_source, c.changes_type, c.version
    FROM changed AS c
),

versioned_public AS (
    INSERT INTO public.history_schema_evolution (
        table_metadata_list_id, schema_table_old, schema_table_new, at_source, changes_type, version_schema
    )
    SELECT v.id, v.old_schema, v.new_schema, v.at_source, v.changes_type, v.version
    FROM new_versions AS v
    WHERE v.is_public
    -- Another program may be recording the same version right now.
    ON CONFLICT DO NOTHING
    RETURNING id
),

versioned_other AS (
    INSERT INTO public.source_details_other_versions (
        table_metadata_list_id, schema_table_old, schema_table_new, at_source, changes_type, version_schema
    )
    SELECT v.id, v.old_schema, v.new_schema, v.at_source, v.changes_type, v.version
    FROM new_versions AS v
    WHERE NOT v.is_public
    ON CONFLICT DO NOTHING
    RETURNING id
),

-- A version that stays the latest keeps what was seen while it was.
noted_public AS (
    UPDATE public.history_schema_evolution AS h
    SET at_source = k.at_source
    FROM kept AS k
    WHERE
        k.is_public
        AND h.table_metadata_list_id = k.id
        AND h.version_schema = k.highest
        AND NOT EXISTS (SELECT FROM changed AS c WHERE c.id = k.id)
),

noted_other AS (
    UPDATE public.source_details_other_versions AS h
    SET at_source = k.at_source
    FROM kept AS k
    WHERE
        NOT k.is_public
        AND h.table_metadata_list_id = k.id
        AND h.version_schema = k.highest
        AND NOT EXISTS (SELECT FROM changed AS c WHERE c.id = k.id)
),

told AS (
    INSERT INTO public.source_details_timeline (source_id, kind, facts)
    SELECT n.source_id, 'source', '{"what": "set_back", "count": 1, "items": [{}]}'
    FROM newest AS n
    CROSS JOIN set_back AS b
    WHERE b.is_so
),

flagged AS (
    UPDATE public.sources AS s
    SET
        is_publication_enabled = f.is_publication_enabled,
        is_replication_enabled = f.is_replication_enabled,
        total_tables = f.total_tables,
        last_check_replication_publication = clock_timestamp(),
        updated_at = CASE
            WHEN
                (s.is_publication_enabled, s.is_replication_enabled, s.total_tables)
                IS DISTINCT FROM (f.is_publication_enabled, f.is_replication_enabled, f.total_tables)
                THEN clock_timestamp()
            ELSE s.updated_at
        END
    FROM newest
    CROSS JOIN LATERAL (
        SELECT
            %(has_publication)s::boolean AS is_publication_enabled,
            -- NULL: it could not be asked.
            coalesce(%(has_slot)s::boolean, o.is_replication_enabled) AS is_replication_enabled,
            -- As the platform's replication monitor counts, so that the two agree.
            %(named_alike)s::int AS total_tables
        FROM public.sources AS o
        WHERE o.id = newest.source_id
    ) AS f
    WHERE s.id = newest.source_id
)

SELECT
    EXISTS (SELECT FROM newest) AS is_newest,
    EXISTS (SELECT FROM newest) AND (SELECT b.is_so FROM set_back AS b) AS is_set_back,
    NOT EXISTS (SELECT FROM place)
    OR (
        EXISTS (SELECT FROM newest)
        AND (
            (
                -- include: tables_edition
            ) <> %(tables_edition)s::bigint
            OR (SELECT count(*) FROM missing) > (SELECT count(*) FROM added)
            OR (SELECT count(*) FROM kept)
            > (SELECT count(*) FROM kept_public) + (SELECT count(*) FROM kept_other)
            OR (SELECT count(*) FROM gone)
            > (SELECT count(*) FROM gone_public) + (SELECT count(*) FROM gone_other)
            OR (SELECT count(*) FROM new_versions)
            > (SELECT count(*) FROM versioned_public) + (SELECT count(*) FROM versioned_other)
        )
    ) AS is_overtaken,
    (SELECT n.number FROM newest AS n) AS number,
    (SELECT coalesce(array_agg(i.key), '{}') FROM incoming AS i) AS published_names,
    json_build_object(
        'tables_added', (SELECT coalesce(json_agg(a.table_name ORDER BY a.table_name COLLATE "C"), '[]') FROM added AS a),
        'tables_dropped',
        (SELECT coalesce(json_agg(g.table_name ORDER BY g.table_name COLLATE "C"), '[]') FROM gone AS g),
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
        (SELECT coalesce(json_agg(c.report ORDER BY c.table_name COLLATE "C"), '[]') FROM changed AS c)
    ) AS report
