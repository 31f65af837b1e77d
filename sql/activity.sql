-- name: remote_activity
-- On a source: what its statistics say of the published tables, as one JSON array of [key, bytes, rows, writes], the
-- most written first. It opens no table: pg_relation_size() would wait while another session alters one, so size and rows
-- are those of the last VACUUM or ANALYZE. A table that is published as the root of its partitions has their sums.
WITH RECURSIVE
-- include: published_relations

counted AS (
    SELECT
        m.oid,
        leaf.oid AS leaf
    FROM published AS m
    CROSS JOIN LATERAL (
        WITH RECURSIVE own AS (
            SELECT m.oid
            UNION ALL
            SELECT i.inhrelid
            FROM own AS o
            INNER JOIN pg_catalog.pg_class AS parent ON parent.oid = o.oid AND parent.relkind = 'p'
            INNER JOIN pg_catalog.pg_inherits AS i ON i.inhparent = o.oid
        )

        SELECT o.oid
        FROM own AS o
    ) AS leaf
),

summed AS (
    SELECT
        c.oid,
        sum(
            (l.relpages::bigint + coalesce(t.relpages, 0)) * current_setting('block_size')::bigint
        ) FILTER (WHERE l.reltuples >= 0 AND l.relkind = 'r' AND (l.relpages > 0 OR l.reltuples > 0)) AS bytes,
        sum(l.reltuples::bigint) FILTER (
            WHERE l.reltuples >= 0 AND l.relkind = 'r' AND (l.relpages > 0 OR l.reltuples > 0)
        ) AS rows,
        sum(
            pg_catalog.pg_stat_get_tuples_inserted(l.oid)
            + pg_catalog.pg_stat_get_tuples_updated(l.oid)
            + pg_catalog.pg_stat_get_tuples_deleted(l.oid)
        )::bigint AS writes
    FROM counted AS c
    INNER JOIN pg_catalog.pg_class AS l ON l.oid = c.leaf
    LEFT JOIN pg_catalog.pg_class AS t ON t.oid = l.reltoastrelid
    GROUP BY c.oid
)

SELECT
    coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(told.key, told.bytes, told.rows, told.writes)), '[]')::text
        AS tables
FROM (
    SELECT
        (
            -- include: remote_key
        ) AS key,
        s.bytes,
        s.rows,
        s.writes
    FROM summed AS s
    INNER JOIN pg_catalog.pg_class AS c ON c.oid = s.oid
    INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    ORDER BY s.writes DESC
    LIMIT %(most_active)s
) AS told

-- name: record_activity
-- Writes what a source's statistics say, and what is new since the round before: that was the monitor's last look. Only
-- rows that say something new are written. A counter that went back was reset, or is that of another server.
WITH seen AS (
    SELECT
        (t.value ->> 0) AS table_name,
        (t.value ->> 1)::bigint AS bytes,
        (t.value ->> 2)::bigint AS rows,
        (t.value ->> 3)::bigint AS writes
    FROM jsonb_array_elements(%(tables)s::jsonb) AS t (value)
),

before AS (
    SELECT extract(EPOCH FROM now() - max(l.seen_at)) / 60 AS minutes
    FROM public.source_details_lag AS l
    WHERE l.source_id = %(id)s::int
),

gone AS (
    DELETE FROM public.source_details_activity AS a
    WHERE a.source_id = %(id)s::int AND NOT EXISTS (SELECT FROM seen AS s WHERE s.table_name = a.table_name)
)

INSERT INTO public.source_details_activity AS a (source_id, table_name, bytes, rows, writes)
SELECT o.id, s.table_name, s.bytes, s.rows, s.writes
FROM seen AS s
INNER JOIN public.sources AS o ON o.id = %(id)s::int
ON CONFLICT (source_id, table_name) DO UPDATE
    SET
        bytes = excluded.bytes,
        rows = excluded.rows,
        writes = excluded.writes,
        writes_a_minute = CASE
            WHEN excluded.writes >= a.writes
                THEN (excluded.writes - a.writes) / nullif((SELECT b.minutes FROM before AS b), 0)
        END,
        last_write_at = CASE WHEN excluded.writes > a.writes THEN now() ELSE a.last_write_at END
    WHERE
        (a.bytes, a.rows, a.writes) IS DISTINCT FROM (excluded.bytes, excluded.rows, excluded.writes)
        OR a.writes_a_minute IS DISTINCT FROM 0
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
        SELECT public.source_details_time(max(l.seen_at))
        FROM public.source_details_lag AS l
        WHERE l.source_id = s.id
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
