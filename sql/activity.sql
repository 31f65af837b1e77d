-- name: remote_activity
-- On a source: what its statistics say of the published tables, as one JSON array of [key, bytes, rows, writes, sum of the
-- OIDs of what is counted], the most written first; and since when the server counts. A standby counts nothing: no row. It opens no table: pg_relation_size() would wait while another session alters one, so size and rows
-- are those of the last VACUUM or ANALYZE. A table that is published as the root of its partitions has their sums.
WITH RECURSIVE
-- include: published_relations

counted AS (
    SELECT m.oid, coalesce(b.oid, m.oid) AS leaf
    FROM published AS m
    LEFT JOIN below AS b ON b.root = m.oid
),

summed AS (
    SELECT
        c.oid,
        sum(
            -- Above 2^31 it is shown as a negative number.
            ((l.relpages::bigint & 4294967295) + coalesce(t.relpages::bigint & 4294967295, 0)) * current_setting('block_size')::bigint
        ) FILTER (WHERE l.reltuples >= 0 AND l.relkind = 'r' AND (l.relpages > 0 OR l.reltuples > 0)) AS bytes,
        sum(l.reltuples::bigint) FILTER (
            WHERE l.reltuples >= 0 AND l.relkind = 'r' AND (l.relpages > 0 OR l.reltuples > 0)
        ) AS rows,
        sum(
            pg_catalog.pg_stat_get_tuples_inserted(l.oid)
            + pg_catalog.pg_stat_get_tuples_updated(l.oid)
            + pg_catalog.pg_stat_get_tuples_deleted(l.oid)
        )::bigint AS writes,
        sum(l.oid::bigint)::bigint AS leaves
    FROM counted AS c
    INNER JOIN pg_catalog.pg_class AS l ON l.oid = c.leaf
    LEFT JOIN pg_catalog.pg_class AS t ON t.oid = l.reltoastrelid
    GROUP BY c.oid
)

SELECT
    coalesce(
        pg_catalog.json_agg(pg_catalog.json_build_array(told.key, told.bytes, told.rows, told.writes, told.leaves)), '[]'
    )::text AS tables,
    concat_ws(
        '/',
        pg_catalog.pg_postmaster_start_time(),
        (
            SELECT d.stats_reset
            FROM pg_catalog.pg_stat_database AS d
            WHERE d.datname = current_database()
        )
    ) AS basis
FROM (
    SELECT
        (
            -- include: remote_key
        ) AS key,
        s.bytes,
        s.rows,
        s.writes,
        s.leaves
    FROM summed AS s
    INNER JOIN pg_catalog.pg_class AS c ON c.oid = s.oid
    INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    ORDER BY s.writes DESC
    LIMIT %(most_active)s
) AS told
HAVING NOT pg_catalog.pg_is_in_recovery()

-- name: record_activity
-- Writes what a source's statistics say, and what is new since they were read before. Only rows that say something new are
-- written, in one order: two rounds may overlap. Counts do not compare if the server counts since another moment, or if
-- a root has other partitions: then no rate is known.
WITH source AS (
    SELECT s.id
    FROM public.sources AS s
    WHERE s.id = %(id)s::int
    -- Waits if the source is being deleted, and then finds none.
    FOR KEY SHARE
),

seen AS (
    SELECT
        (t.value ->> 0) AS table_name,
        (t.value ->> 1)::bigint AS bytes,
        (t.value ->> 2)::bigint AS rows,
        (t.value ->> 3)::bigint AS writes,
        (t.value ->> 4)::bigint AS leaves
    FROM jsonb_array_elements(%(tables)s::jsonb) AS t (value)
),

before AS (
    SELECT extract(EPOCH FROM now() - r.counted_at) / 60 AS minutes
    FROM public.source_details_activity_round AS r
    WHERE r.source_id = %(id)s::int AND r.basis = %(basis)s
),

round AS (
    INSERT INTO public.source_details_activity_round AS r (source_id, counted_at, basis)
    SELECT s.id, now(), %(basis)s
    FROM source AS s
    ON CONFLICT (source_id) DO UPDATE SET counted_at = excluded.counted_at, basis = excluded.basis
),

gone AS (
    DELETE FROM public.source_details_activity AS a
    WHERE a.source_id = %(id)s::int AND NOT EXISTS (SELECT FROM seen AS s WHERE s.table_name = a.table_name)
)

INSERT INTO public.source_details_activity AS a (source_id, table_name, bytes, rows, writes, leaves)
SELECT o.id, s.table_name, s.bytes, s.rows, s.writes, s.leaves
FROM seen AS s
CROSS JOIN source AS o
ORDER BY s.table_name COLLATE "C"
ON CONFLICT (source_id, table_name) DO UPDATE
    SET
        bytes = excluded.bytes,
        rows = excluded.rows,
        writes = excluded.writes,
        leaves = excluded.leaves,
        writes_a_minute = CASE
            WHEN excluded.writes >= a.writes AND excluded.leaves = a.leaves
                THEN (excluded.writes - a.writes) / nullif((SELECT b.minutes FROM before AS b), 0)
        END,
        last_write_at = CASE
            WHEN excluded.writes > a.writes AND excluded.leaves = a.leaves AND EXISTS (SELECT FROM before) THEN now()
            ELSE a.last_write_at
        END
    WHERE
        (a.bytes, a.rows, a.writes, a.leaves)
        IS DISTINCT FROM (excluded.bytes, excluded.rows, excluded.writes, excluded.leaves)
        OR a.writes_a_minute IS DISTINCT FROM 0
        OR NOT EXISTS (SELECT FROM before)
RETURNING a.source_id

-- name: activity
-- What is known of the activity of a source's published tables, the busiest first: at most `count`, of one table
-- (`table_id`) or of all. No row for an unknown id; a row without a name if nothing is known.
SELECT
    s.name AS source_name,
    a.table_id,
    a.table_name,
    a.bytes,
    a.rows,
    round(a.writes_a_minute::numeric, 1)::double precision AS writes_a_minute,
    public.source_details_time(a.last_write_at) AS last_write_at,
    (
        SELECT public.source_details_time(r.counted_at)
        FROM public.source_details_activity_round AS r
        WHERE r.source_id = s.id
    ) AS as_of
FROM public.sources AS s
LEFT JOIN LATERAL (
    SELECT
        t.id AS table_id,
        t.table_name,
        k.bytes,
        k.rows,
        k.writes,
        k.writes_a_minute,
        k.last_write_at
    FROM public.source_details_activity AS k
    INNER JOIN public.source_details_registered AS t
        ON t.source_id = k.source_id AND t.key = k.table_name AND t.is_published
    WHERE k.source_id = s.id AND (%(table_id)s::int IS NULL OR t.id = %(table_id)s::int)
    ORDER BY k.writes_a_minute DESC NULLS LAST, k.writes DESC, k.table_name
    LIMIT %(count)s::int
) AS a ON true
WHERE s.id = %(id)s::int
ORDER BY a.writes_a_minute DESC NULLS LAST, a.writes DESC, a.table_name
