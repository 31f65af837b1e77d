-- name: timeline
-- What happened to a source, or to all sources at once, the latest first: at most `count` entries before the one with
-- `before`, of one kind or of all. No row for an unknown id; a row without an id if nothing happened.
SELECT
    s.name AS source_name,
    e.id,
    public.source_details_time(e.happened_at) AS happened_at,
    e.kind,
    e.facts,
    e.role,
    e.program
FROM public.sources AS s
LEFT JOIN LATERAL (
    SELECT either.*
    FROM (VALUES (s.id), (0)) AS whose (source_id)
    CROSS JOIN LATERAL (
        SELECT t.*
        FROM public.source_details_timeline AS t
        WHERE
            t.source_id = whose.source_id
            AND t.id < coalesce(%(before)s::bigint, 9223372036854775807)
            AND (%(kind)s::text IS NULL OR t.kind = %(kind)s::text)
        ORDER BY t.id DESC
        LIMIT %(count)s::int
    ) AS either
    ORDER BY either.id DESC
    LIMIT %(count)s::int
) AS e ON true
WHERE s.id = %(id)s::int
ORDER BY e.id DESC

-- name: prune_timeline
-- Forgets entries of more than 90 days, the earliest beyond 1,000 of a source, and notices of more than 30 days. Every
-- process does so now and then: what another one has deleted is not there any more.
WITH notices AS (
    DELETE FROM public.source_details_notices AS n
    WHERE n.made_at < now() - interval '30 days'
)

DELETE FROM public.source_details_timeline AS e
USING (
    SELECT
        told.source_id,
        (
            SELECT edge.id
            FROM public.source_details_timeline AS edge
            WHERE edge.source_id = told.source_id
            ORDER BY edge.id DESC
            OFFSET 1000 LIMIT 1
        ) AS edge
    FROM (SELECT DISTINCT t.source_id FROM public.source_details_timeline AS t) AS told
) AS kept
WHERE e.source_id = kept.source_id AND (e.id <= kept.edge OR e.happened_at < now() - interval '90 days')
RETURNING e.id
