-- name: lock_schedule
-- The first statement of a claim: two concurrent claims would each count the leases without the other's.
SELECT pg_advisory_xact_lock(hashtext('source_details_schedule'))

-- name: claim_sync
-- Claims the source that has been due for longest, for `lease_s` seconds, so that no other process takes it. No row if
-- none is due, or if `at_once` sources are claimed already. A locked row is being written by another program, and is
-- skipped.
UPDATE public.source_details_schedule AS c
SET claimed_until = now() + make_interval(secs => %(lease_s)s)
WHERE
    c.source_id = (
        SELECT d.source_id
        FROM public.source_details_schedule AS d
        WHERE
            d.due_at <= now()
            AND (d.claimed_until IS NULL OR d.claimed_until <= now())
            AND (
                SELECT count(*)
                FROM public.source_details_schedule AS taken
                WHERE taken.claimed_until > now()
            ) < %(at_once)s
        ORDER BY d.due_at
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
RETURNING c.source_id

-- name: give_back_syncs
-- Makes sources due again at once, since the process that claimed them stops.
UPDATE public.source_details_schedule AS c
SET claimed_until = NULL
WHERE c.source_id = ANY(%(ids)s::int [])
RETURNING c.source_id

-- name: schedule_new_sources
-- Adds sources that are not on the schedule yet, spread over the first interval, so that many new sources are not
-- synced at once. Returns how long it is until the next source is due (seconds; NULL if there is none).
WITH added AS (
    INSERT INTO public.source_details_schedule (source_id, due_at)
    SELECT
        s.id,
        now() + make_interval(secs => %(interval_s)s * ((hashint4(s.id) & 65535) / 65536.0))
    FROM public.sources AS s
    WHERE NOT EXISTS (SELECT FROM public.source_details_schedule AS c WHERE c.source_id = s.id)
    -- A source that is being deleted right now would violate the foreign key.
    FOR KEY SHARE OF s SKIP LOCKED
    ON CONFLICT DO NOTHING
)

SELECT
    extract(
        epoch FROM min(greatest(c.due_at, coalesce(c.claimed_until, c.due_at))) - clock_timestamp()
    )::double precision AS next_s
FROM public.source_details_schedule AS c

-- name: background_state
-- For the health report: how many sources fail their scheduled syncs, and which have failed longest; how many slots are
-- in ERROR, and which; for how long the most overdue sync and the WAL monitor's round have been due (seconds).
SELECT
    count(*) FILTER (WHERE judged.is_failing) AS syncs_failing,
    coalesce(
        (array_agg(c.source_id ORDER BY c.failing_since) FILTER (WHERE judged.is_failing)) [:5], '{}'
    ) AS failing_ids,
    (SELECT count(*) FROM public.wal_monitor AS w WHERE w.status = 'ERROR') AS slots_in_error,
    ARRAY(
        SELECT w.source_id
        FROM public.wal_monitor AS w
        WHERE w.status = 'ERROR'
        ORDER BY w.updated_at, w.source_id
        LIMIT 5
    ) AS slot_error_ids,
    greatest(
        extract(
            epoch FROM now() - min(c.due_at) FILTER (WHERE c.claimed_until IS NULL OR c.claimed_until <= now())
        ), 0
    )::double precision AS syncs_late_s,
    (
        SELECT greatest(extract(epoch FROM now() - r.due_at), 0)::double precision
        FROM public.source_details_wal_round AS r
    ) AS wal_round_late_s
FROM public.source_details_schedule AS c
LEFT JOIN public.source_details_sync_state AS y ON y.source_id = c.source_id
-- A manual sync may have succeeded since.
CROSS JOIN LATERAL (SELECT c.failing_since > coalesce(y.synced_at, '-infinity') AS is_failing) AS judged

-- name: sync_succeeded
-- The source is due again after the interval. If it was told to be lost, it is back.
WITH told AS (
    INSERT INTO public.source_details_timeline (source_id, kind, facts)
    SELECT c.source_id, 'reach', '{"what": "back", "count": 1, "items": [{}]}'
    FROM public.source_details_schedule AS c
    WHERE c.source_id = %(id)s::int AND c.failures >= 2
)

UPDATE public.source_details_schedule AS c
SET
    due_at = now() + make_interval(secs => %(interval_s)s),
    claimed_until = NULL,
    failures = 0,
    failing_since = NULL,
    last_error = NULL
WHERE c.source_id = %(id)s::int
RETURNING c.source_id

-- name: sync_failed
-- The source is due again after a time that doubles with each failure in a row, up to `longest_s` seconds. The second
-- failure is told in the timeline: one may be a blip. So is, before a new first one, that a sync by hand had ended those
-- that were told.
WITH failed AS (
    UPDATE public.source_details_schedule AS c
    SET
        due_at = now() + make_interval(
            secs => greatest(least(%(interval_s)s * 2 ^ least(c.failures, 20), %(longest_s)s), %(interval_s)s)
        ),
        claimed_until = NULL,
        -- A manual sync may have succeeded since the last failure: then this one is the first.
        failures = CASE WHEN is_failing.still THEN c.failures + 1 ELSE 1 END,
        failing_since = CASE WHEN is_failing.still THEN c.failing_since ELSE now() END,
        last_error = %(error)s
    FROM (
        SELECT
            coalesce(
                f.failing_since > coalesce(
                    (
                        SELECT y.synced_at
                        FROM public.source_details_sync_state AS y
                        WHERE y.source_id = f.source_id
                    ),
                    '-infinity'
                ),
                false
            ) AS still,
            f.failures AS before
        FROM public.source_details_schedule AS f
        WHERE f.source_id = %(id)s::int
    ) AS is_failing
    WHERE c.source_id = %(id)s::int
    RETURNING c.source_id, c.failures, c.last_error, is_failing.still, is_failing.before
),

told AS (
    INSERT INTO public.source_details_timeline (source_id, kind, facts)
    SELECT
        f.source_id,
        'reach',
        CASE
            WHEN f.still THEN
                jsonb_build_object(
                    'what', 'lost',
                    'count', 1,
                    'items', jsonb_build_array(jsonb_build_object('message', left(f.last_error, 500)))
                )
            ELSE '{"what": "back", "count": 1, "items": [{}]}'
        END
    FROM failed AS f
    WHERE f.failures = 2 OR (f.before >= 2 AND NOT f.still)
)

SELECT f.source_id
FROM failed AS f
