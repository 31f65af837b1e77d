-- name: add_source
-- Registers a source. Its password is encrypted, as the platform stores it.
INSERT INTO public.sources (
    name, pg_host, pg_port, pg_database, pg_username, pg_password, publication_name, replication_name
)
VALUES (
    %(name)s, %(host)s, %(port)s, %(database)s, %(user)s, %(password)s, %(publication)s, %(slot)s
)
RETURNING id

-- name: remove_source
-- Deletes a source and everything that is known about it. No row for an unknown id.
DELETE FROM public.sources AS s
WHERE s.id = %(id)s::int
RETURNING s.name

-- name: announce
-- Makes every process evict a source's page, or all pages for '*'.
SELECT pg_notify('source_details_changed', %(what)s::text)

-- name: source_ids
-- Every source, oldest first.
SELECT
    s.id,
    s.name
FROM public.sources AS s
ORDER BY s.id

-- name: source_state
-- What the database knows about why a source's page is as it is. No row for an unknown id.
SELECT
    s.name,
    (
        SELECT public.source_details_time(min(l.noted_at))
        FROM public.source_details_log AS l
        WHERE l.source_id IN (s.id, 0)
    ) AS read_live_since,
    (
        SELECT public.source_details_time(r.refreshed_at)
        FROM public.source_details_refresh_state AS r
    ) AS view_refreshed_at,
    public.source_details_time(y.synced_at) AS synced_at,
    public.source_details_time(c.failing_since) AS failing_since,
    c.last_error,
    (
        SELECT count(*) FILTER (WHERE t.is_published)
        FROM public.source_details_registered AS t
        WHERE t.source_id = s.id
    ) AS published_tables,
    (
        SELECT count(*)
        FROM public.source_details_registered AS t
        WHERE t.source_id = s.id
    ) AS registered_tables
FROM public.sources AS s
LEFT JOIN public.source_details_sync_state AS y ON y.source_id = s.id
LEFT JOIN public.source_details_schedule AS c
    -- A manual sync may have succeeded since.
    ON c.source_id = s.id AND c.failing_since > coalesce(y.synced_at, '-infinity')
WHERE s.id = %(id)s::int

-- name: identity
-- What tells this config database from every other, a copy on another server included: the server's own number, the
-- database's, and its name, for people. A promoted standby has the same.
SELECT concat_ws('/', s.system_identifier, d.oid, d.datname) AS identity
FROM pg_catalog.pg_control_system() AS s
CROSS JOIN pg_catalog.pg_database AS d
WHERE d.datname = current_database()
