-- name: refresh_if_due
-- Refreshes the view if it is due; see migrations/present/03_refresh.sql.
SELECT r.outcome, r.wait_ms
FROM public.source_details_refresh_if_due(%(share)s::double precision) AS r

-- name: view_state
-- For the health report: how many sources the view does not cover and for how long, when it was refreshed, how many
-- triggers are missing or not ENABLE ALWAYS (pg_restore --disable-triggers leaves them only enabled), and how full the
-- notification queue is: once it is full, transactions that change metadata fail at COMMIT.
SELECT
    (SELECT count(DISTINCT l.source_id) FROM public.source_details_log AS l) AS uncovered_sources,
    coalesce(
        (SELECT extract(epoch FROM clock_timestamp() - min(l.noted_at)) FROM public.source_details_log AS l), 0
    )::double precision AS uncovered_s,
    public.source_details_time(s.refreshed_at) AS refreshed_at,
    round(extract(epoch FROM s.duration) * 1000)::int AS last_duration_ms,
    triggers.wanted AS triggers_wanted,
    triggers.missing AS triggers_missing,
    public.source_details_has_event_trigger('source_details_refreshed')
    AND public.source_details_has_event_trigger('source_details_altered') AS has_event_trigger,
    to_regclass('public.source_details_tables') IS NOT NULL AS has_view,
    pg_notification_queue_usage() AS notification_queue
FROM public.source_details_refresh_state AS s
CROSS JOIN (
    SELECT
        count(*)::int AS wanted,
        count(*) FILTER (WHERE NOT t.is_right)::int AS missing
    FROM public.source_details_triggers() AS t
) AS triggers

-- name: canary
-- The canary that this process's listener must receive. Like every change, another session than its own sends it.
SELECT pg_notify(%(channel)s::text, %(token)s::text)
