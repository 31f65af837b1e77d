-- name: overview
-- Every source as the list shows it, by name, up to `most`.
SELECT
    s.id,
    s.name,
    s.pg_host,
    s.pg_port,
    s.pg_database,
    public.source_details_health_facts(s.id) AS health_facts,
    w.replication_lag_bytes,
    coalesce(counted.tables, 0) AS tables,
    public.source_details_time(y.synced_at) AS synced_at
FROM public.sources AS s
LEFT JOIN LATERAL (
    SELECT w.replication_lag_bytes
    FROM public.wal_monitor AS w
    WHERE w.source_id = s.id
    ORDER BY w.id
    LIMIT 1
) AS w ON true
LEFT JOIN public.source_details_sync_state AS y ON y.source_id = s.id
LEFT JOIN (
    SELECT
        t.source_id,
        count(*) AS tables
    FROM public.source_details_registered AS t
    WHERE t.is_published
    GROUP BY t.source_id
) AS counted ON counted.source_id = s.id
-- include: locked_first
ORDER BY s.name, s.id
LIMIT %(most)s

-- name: all_health_facts
-- What the health of each source is judged by.
SELECT
    s.id,
    public.source_details_health_facts(s.id) AS health_facts
FROM public.sources AS s
-- include: locked_first

-- name: lag_samples
-- Part of a source's web page: the highest lag in bytes and seconds and retained WAL in every `bucket_s` seconds of the last `span_s`.
SELECT
    coalesce(
        json_agg(
            json_build_array(
                public.source_details_time(b.seen_at), b.lag_bytes, b.retained_bytes, round(b.lag_s::numeric, 1)
            )
            ORDER BY b.seen_at
        ),
        '[]'
    )
FROM (
    SELECT
        min(l.seen_at) AS seen_at,
        max(l.lag_bytes) AS lag_bytes,
        max(l.retained_bytes) AS retained_bytes,
        max(l.lag_s) AS lag_s
    FROM public.source_details_lag AS l
    WHERE
        l.source_id = %(id)s::int
        AND l.lag_bytes IS NOT NULL
        AND l.seen_at > now() - make_interval(secs => %(span_s)s)
    GROUP BY date_bin(make_interval(secs => %(bucket_s)s), l.seen_at, 'epoch')
) AS b

-- name: lag_history
-- The lag of a source over a longer time than its web page shows at first. No row for an unknown id.
SELECT
    (
        -- include: lag_samples
    ) AS lag,
    public.source_details_time(now()) AS now,
    (
        SELECT row_to_json(limits)
        FROM public.source_details_wal_thresholds() AS limits
    ) AS thresholds
FROM public.sources AS s
-- include: locked_first
WHERE s.id = %(id)s::int

-- name: renamed_columns
-- Part of the one below: up to four columns that version `h` renamed, as [old, new]. Each keeps its number in its relation.
SELECT json_build_array(o.key, n.key)
FROM public.source_details_versions AS earlier
CROSS JOIN LATERAL (
    SELECT
        public.source_details_identity(earlier.schema_table_new, earlier.at_source) AS before,
        public.source_details_identity(h.schema_table_new, h.at_source) AS after
) AS followed
CROSS JOIN LATERAL json_each_text(followed.before -> 'attnums') AS o
INNER JOIN LATERAL json_each_text(followed.after -> 'attnums') AS n ON n.value = o.value AND n.key <> o.key
WHERE
    earlier.table_id = t.id
    AND earlier.version = h.version - 1
    AND followed.before ->> 'relation' = followed.after ->> 'relation'
ORDER BY n.key COLLATE "C"
LIMIT 4

-- name: portrait_extras
-- What a source's web page shows besides its details: when it was last synced, and what was seen of its server and slot
-- then; the lag as the WAL monitor recently measured it, and the thresholds of the WAL that a slot retains; the slot at the
-- monitor's last check, with the growth of the lag over the last 15 minutes in bytes per minute; its pipelines with their
-- destinations, and why one fails; and for each table whose newest version is of the last `days` days, what it changed
-- (with up to four names of new, of dropped and of renamed columns) and when. No row for an unknown id.
SELECT
    public.source_details_time(y.synced_at) AS synced_at,
    y.seen,
    (
        -- include: lag_samples
    ) AS lag,
    (
        SELECT row_to_json(limits)
        FROM public.source_details_wal_thresholds() AS limits
    ) AS thresholds,
    (
        SELECT row_to_json(slot)
        FROM (
            SELECT
                l.restart_lsn,
                l.confirmed_lsn,
                l.safe_wal_size,
                l.wal_status,
                public.source_details_time(l.inactive_since) AS inactive_since,
                (
                    SELECT (60 * regr_slope(r.lag_bytes, extract(EPOCH FROM r.seen_at)))::bigint
                    FROM public.source_details_lag AS r
                    WHERE r.source_id = s.id AND r.seen_at > now() - interval '15 minutes'
                ) AS lag_per_minute
            FROM public.source_details_lag AS l
            WHERE l.source_id = s.id AND l.seen_at > now() - interval '1 day'
            ORDER BY l.seen_at DESC
            LIMIT 1
        ) AS slot
    ) AS slot,
    (
        SELECT coalesce(json_agg(row_to_json(p) ORDER BY p.name COLLATE "C"), '[]')
        FROM (
            SELECT
                p.name,
                p.status,
                coalesce(bool_or(pd.is_error), false) AS is_error,
                coalesce(
                    json_agg(
                        json_build_object(
                            'name', d.name,
                            'type', d.type,
                            'is_error', pd.is_error,
                            'error', CASE WHEN pd.is_error THEN left(pd.error_message, 300) END,
                            'error_at', CASE WHEN pd.is_error THEN public.source_details_time(pd.last_error_at) END
                        )
                        ORDER BY d.name COLLATE "C"
                    )
                    FILTER (WHERE d.name IS NOT NULL),
                    '[]'
                ) AS destinations
            FROM public.pipelines AS p
            LEFT JOIN public.pipelines_destination AS pd ON pd.pipeline_id = p.id
            LEFT JOIN public.destinations AS d ON d.id = pd.destination_id
            WHERE p.source_id = s.id
            GROUP BY p.id, p.name, p.status
        ) AS p
    ) AS pipelines,
    (
        SELECT
            coalesce(
                json_object_agg(
                    t.id,
                    json_build_array(
                        h.changes_type,
                        public.source_details_time(h.created_at),
                        -- Objects are keyed by column name; of other forms no names are known.
                        CASE
                            WHEN h.changes_type = 'INITIAL_LOAD' THEN NULL
                            WHEN jsonb_typeof(h.schema_table_old) = 'object' AND jsonb_typeof(h.schema_table_new) = 'object'
                                THEN
                                    json_build_object(
                                        'added',
                                        ARRAY(
                                            SELECT jsonb_object_keys(h.schema_table_new)
                                            EXCEPT
                                            SELECT jsonb_object_keys(h.schema_table_old)
                                            ORDER BY 1
                                            LIMIT 4
                                        ),
                                        'dropped',
                                        ARRAY(
                                            SELECT jsonb_object_keys(h.schema_table_old)
                                            EXCEPT
                                            SELECT jsonb_object_keys(h.schema_table_new)
                                            ORDER BY 1
                                            LIMIT 4
                                        ),
                                        'renamed',
                                        ARRAY(
                                            -- include: renamed_columns
                                        )
                                    )
                        END
                    )
                ),
                '{}'
            )
        FROM public.source_details_registered AS t
        CROSS JOIN LATERAL (
            SELECT h.version, h.changes_type, h.created_at, h.schema_table_old, h.schema_table_new, h.at_source
            FROM public.source_details_versions AS h
            WHERE h.table_id = t.id AND h.version IS NOT NULL
            ORDER BY h.version DESC
            LIMIT 1
        ) AS h
        WHERE
            t.source_id = s.id
            AND h.created_at > now() - make_interval(days => %(days)s)
    ) AS changed_lately
FROM public.sources AS s
LEFT JOIN public.source_details_sync_state AS y ON y.source_id = s.id
-- include: locked_first
WHERE s.id = %(id)s::int
