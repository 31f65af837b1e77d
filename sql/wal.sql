-- name: claim_wal_round
-- Claims the round that is due, for one process of all. No row if it is not due, or another process has claimed it.
UPDATE public.source_details_wal_round AS r
SET due_at = now() + make_interval(secs => %(interval_s)s)
WHERE r.due_at <= now()
RETURNING r.only_row

-- name: wal_sources
-- Every source, how to connect to it, what its slot had confirmed a minute ago: clients confirm about every ten
-- seconds (wal_receiver_status_interval), however often the service checks; and from where on it kept WAL `held_s` ago.
SELECT
    seen.confirmed_lsn::text AS confirmed_lsn,
    kept.restart_lsn::text AS restart_lsn,
    -- include: connection_columns
FROM public.sources AS c
LEFT JOIN LATERAL (
    SELECT l.confirmed_lsn
    FROM public.source_details_lag AS l
    WHERE l.source_id = c.id AND l.seen_at <= now() - interval '1 minute'
    ORDER BY l.seen_at DESC
    LIMIT 1
) AS seen ON true
LEFT JOIN LATERAL (
    SELECT l.restart_lsn
    FROM public.source_details_lag AS l
    WHERE l.source_id = c.id AND l.seen_at <= now() - make_interval(secs => %(held_s)s)
    ORDER BY l.seen_at DESC
    LIMIT 1
) AS kept ON true
ORDER BY c.id

-- name: wal_ends
-- Part of the one below: where the source's WAL ended at each earlier measurement, in bytes.
SELECT
    m.seen_at,
    (m.confirmed_lsn - '0/0'::pg_lsn) + m.lag_bytes AS wal_end
FROM public.source_details_lag AS m
WHERE
    m.source_id = %(id)s::int
    AND m.seen_at < now()
    AND m.confirmed_lsn IS NOT NULL
    AND m.lag_bytes IS NOT NULL

-- name: record_wal
-- Writes what was measured into the platform's table, and into the history, with what the history tells of it. That keeps
-- everything for a day, and then one measurement of every ten minutes up to a week. If the source could not be queried,
-- only its status and the error are written. No row for a source that is gone.
WITH source AS (
    SELECT s.id
    FROM public.sources AS s
    WHERE s.id = %(id)s::int
    -- Waits if the source is being deleted, and then finds none.
    FOR KEY SHARE
),

pruned AS (
    DELETE FROM public.source_details_lag AS l
    WHERE
        l.source_id = %(id)s::int
        AND (
            l.seen_at < now() - interval '7 days'
            -- Only what has become a day old since the last rounds is looked at.
            OR l.seen_at BETWEEN now() - interval '1 day 1 hour' AND now() - interval '1 day'
            AND EXISTS (
                SELECT FROM public.source_details_lag AS kept
                WHERE
                    kept.source_id = l.source_id
                    AND kept.seen_at >= date_bin(interval '10 minutes', l.seen_at, 'epoch')
                    AND kept.seen_at < l.seen_at
            )
        )
),

-- The lag in seconds: since when the server's WAL is beyond what is confirmed now. That was between the last measurement
-- that found its end before there, and the one after it; in between the WAL is taken to have grown evenly. An idle server
-- has nothing beyond, however long ago its client confirmed something.
behind AS (
    SELECT
        extract(EPOCH FROM now() - (before.seen_at + (next.seen_at - before.seen_at) * next.share)) AS lag_s,
        extract(EPOCH FROM now() - before.seen_at) AS lag_most_s
    FROM (
        SELECT l.*
        FROM (
            -- include: wal_ends
        ) AS l
        WHERE
            l.wal_end <= %(wal_position)s::bigint - %(lag_bytes)s::bigint
            -- Positions before a server that was set back, or replaced, say nothing about those after it.
            AND NOT EXISTS (
                SELECT
                FROM (
                    -- include: wal_ends
                ) AS later
                WHERE later.seen_at > l.seen_at AND later.wal_end > %(wal_position)s::bigint
            )
        ORDER BY l.seen_at DESC
        LIMIT 1
    ) AS before
    CROSS JOIN LATERAL (
        SELECT
            beyond.seen_at,
            (%(wal_position)s::bigint - %(lag_bytes)s::bigint - before.wal_end)
            / (beyond.wal_end - before.wal_end) AS share
        FROM (
            (
                SELECT l.*
                FROM (
                    -- include: wal_ends
                ) AS l
                WHERE l.seen_at > before.seen_at
                ORDER BY l.seen_at
                LIMIT 1
            )
            UNION ALL
            SELECT
                now(),
                %(wal_position)s::bigint
        ) AS beyond
        WHERE beyond.wal_end > before.wal_end
        ORDER BY beyond.seen_at
        LIMIT 1
    ) AS next
    WHERE %(lag_bytes)s::bigint > 0
    UNION ALL
    SELECT
        0,
        0
    WHERE %(lag_bytes)s::bigint <= 0
),

-- When the slot is lost, or the disk is full, if the WAL that the slot retains grows as it did. Only a line that the
-- measurements follow says so: a reader that catches up now and then makes none. What is left now is the server's own
-- figure; its slope is none, since it counts from the beginning of a segment.
outlook AS (
    SELECT
        greatest(fitted.left_now, 0) / fitted.slope AS lost_in_s,
        fitted.slope AS rate_bytes,
        fitted.over_s,
        %(safe_wal_size)s::bigint IS NULL AS is_disk_limit
    FROM (
        SELECT
            regr_slope(seen.retained_bytes, extract(EPOCH FROM seen.at)) AS slope,
            regr_r2(seen.retained_bytes, extract(EPOCH FROM seen.at)) AS fit,
            count(*) AS measurements,
            extract(EPOCH FROM max(seen.at) - min(seen.at)) AS over_s,
            coalesce(%(safe_wal_size)s::numeric, %(disk_bytes)s::numeric - %(retained_bytes)s::numeric) AS left_now
        FROM (
            SELECT
                l.seen_at AS at,
                l.retained_bytes
            FROM public.source_details_lag AS l
            WHERE l.source_id = %(id)s::int AND l.seen_at > now() - interval '15 minutes' AND l.seen_at < now()
            UNION ALL
            SELECT
                now(),
                %(retained_bytes)s::bigint
        ) AS seen
        WHERE seen.retained_bytes IS NOT NULL
    ) AS fitted
    WHERE
        %(retained_bytes)s::bigint IS NOT NULL
        AND fitted.left_now IS NOT NULL
        AND fitted.measurements >= 5
        AND fitted.over_s >= 20
        AND fitted.slope > 0
        AND fitted.fit >= 0.8
        -- Nobody knows a rate for longer.
        AND fitted.left_now < fitted.slope * 30 * 86400
),

noted AS (
    INSERT INTO public.source_details_lag (
        source_id, lag_bytes, retained_bytes, confirmed_lsn, restart_lsn, wal_status, safe_wal_size, inactive_since,
        lag_s, lag_most_s, lost_in_s, rate_bytes, rate_over_s, is_disk_limit, held_by
    )
    SELECT
        s.id,
        %(lag_bytes)s::bigint,
        %(retained_bytes)s::bigint,
        %(confirmed_lsn)s::pg_lsn,
        %(restart_lsn)s::pg_lsn,
        %(wal_status)s::text,
        %(safe_wal_size)s::bigint,
        %(inactive_since)s::timestamptz,
        b.lag_s,
        b.lag_most_s,
        o.lost_in_s,
        o.rate_bytes,
        o.over_s,
        o.is_disk_limit,
        %(held_by)s::jsonb
    FROM source AS s
    LEFT JOIN behind AS b ON true
    LEFT JOIN outlook AS o ON true
    WHERE %(is_seen)s
    ON CONFLICT DO NOTHING
)

INSERT INTO public.wal_monitor AS w (
    source_id, wal_lsn, wal_position, last_wal_received, replication_slot_name, replication_lag_bytes, total_wal_size,
    status, error_message, updated_at
)
SELECT
    s.id,
    %(wal_lsn)s::text,
    %(wal_position)s::bigint,
    CASE WHEN %(is_seen)s THEN now() END,
    %(slot)s::text,
    %(lag_bytes)s::bigint,
    pg_size_pretty(%(retained_bytes)s::bigint),
    %(status)s::text,
    %(error)s::text,
    now()
FROM source AS s
ON CONFLICT (source_id) DO UPDATE
    SET
        wal_lsn = coalesce(excluded.wal_lsn, w.wal_lsn),
        wal_position = coalesce(excluded.wal_position, w.wal_position),
        last_wal_received = coalesce(excluded.last_wal_received, w.last_wal_received),
        replication_slot_name = excluded.replication_slot_name,
        replication_lag_bytes
        = CASE WHEN %(is_seen)s THEN excluded.replication_lag_bytes ELSE w.replication_lag_bytes END,
        total_wal_size = CASE WHEN %(is_seen)s THEN excluded.total_wal_size ELSE w.total_wal_size END,
        status = excluded.status,
        error_message = excluded.error_message,
        updated_at = excluded.updated_at
RETURNING w.id
