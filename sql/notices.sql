-- name: make_notices
-- Makes the notices that webhooks are owed for new entries of the timeline, and marks these: both or neither. A notice
-- is due at once, or when the last one of its webhook, source and kind is `cooldown_s` old; what happens until then is
-- added to it. An entry that another process is looking at is left to that one.
WITH fresh AS (
    SELECT
        e.id,
        e.source_id,
        e.kind,
        e.happened_at,
        e.facts
    FROM public.source_details_timeline AS e
    WHERE NOT e.is_noticed
    ORDER BY e.id
    LIMIT 500
    FOR UPDATE SKIP LOCKED
),

marked AS (
    UPDATE public.source_details_timeline AS e
    SET is_noticed = true
    FROM fresh AS f
    WHERE e.id = f.id
    RETURNING e.id
),

owed AS (
    SELECT
        w.name AS webhook,
        w.cooldown_s,
        f.source_id,
        f.kind,
        array_agg(f.id ORDER BY f.id) AS entries
    FROM fresh AS f
    INNER JOIN jsonb_to_recordset(%(webhooks)s::jsonb) AS w (name text, kinds text [], sources text [], cooldown_s int)
        ON f.kind = ANY(w.kinds)
    LEFT JOIN public.sources AS s ON s.id = f.source_id
    WHERE
        -- Older ones are from a time when nobody sent notices.
        f.happened_at > now() - interval '1 day'
        -- What is deleted with its source is not worth a word; only that this is gone.
        AND (f.source_id = 0 OR f.kind = 'source' OR s.id IS NOT NULL)
        AND (f.source_id = 0 OR coalesce(s.name, f.facts -> 'items' -> 0 ->> 'name', '') LIKE ANY(w.sources))
    GROUP BY w.name, w.cooldown_s, f.source_id, f.kind
),

made AS (
    INSERT INTO public.source_details_notices AS n (webhook, source_id, kind, entries, due_at)
    SELECT
        o.webhook,
        o.source_id,
        o.kind,
        o.entries,
        greatest(now(), last.at + make_interval(secs => o.cooldown_s))
    FROM owed AS o
    LEFT JOIN LATERAL (
        SELECT coalesce(m.sent_at, m.made_at) AS at
        FROM public.source_details_notices AS m
        WHERE m.webhook = o.webhook AND m.source_id = o.source_id AND m.kind = o.kind
        ORDER BY m.made_at DESC
        LIMIT 1
    ) AS last ON true
    -- In one order in every process: two that make the same notices wait for each other, and must not do so crosswise.
    ORDER BY o.webhook, o.source_id, o.kind
    ON CONFLICT (webhook, source_id, kind) WHERE attempts = 0
    DO UPDATE SET
        entries = (n.entries || excluded.entries) [greatest(cardinality(n.entries || excluded.entries) - 999, 1):],
        left_out = n.left_out + greatest(cardinality(n.entries || excluded.entries) - 1000, 0)
    RETURNING n.id
)

SELECT
    (SELECT count(*) FROM marked) AS entries,
    (SELECT count(*) FROM made) AS notices

-- name: claim_notices
-- Claims notices of a webhook that are due, for `claim_s` seconds: if the process dies, another one sends them again.
UPDATE public.source_details_notices AS n
SET
    attempts = n.attempts + 1,
    tried_at = coalesce(n.tried_at, now()),
    due_at = now() + make_interval(secs => %(claim_s)s)
WHERE
    n.id IN (
        SELECT d.id
        FROM public.source_details_notices AS d
        WHERE
            d.webhook = %(webhook)s
            AND d.due_at <= now()
            AND d.sent_at IS NULL
            AND d.gave_up_at IS NULL
        ORDER BY d.due_at
        LIMIT %(count)s::int
        FOR UPDATE SKIP LOCKED
    )
RETURNING
    n.id,
    n.source_id,
    (SELECT s.name FROM public.sources AS s WHERE s.id = n.source_id) AS source_name,
    n.kind,
    n.entries,
    n.left_out,
    n.attempts

-- name: notice_entries
-- The latest `most` of a notice's entries.
SELECT
    e.id,
    public.source_details_time(e.happened_at) AS happened_at,
    e.kind,
    e.facts,
    e.role,
    e.program
FROM public.source_details_timeline AS e
WHERE e.id = ANY(%(entries)s::bigint [])
ORDER BY e.id DESC
LIMIT %(most)s::int

-- name: notice_sent
-- The webhook has accepted it.
UPDATE public.source_details_notices AS n
SET
    sent_at = now(),
    gave_up_at = NULL,
    last_error = NULL
WHERE n.id = %(id)s::bigint
RETURNING n.id

-- name: notice_failed
-- It is due again after a time that doubles with each attempt, up to an hour, for a day. Unless another process, which
-- found this claim to be over, has claimed it since.
UPDATE public.source_details_notices AS n
SET
    last_error = %(error)s,
    due_at = now() + make_interval(secs => least(5 * 2 ^ least(n.attempts, 20), 3600)),
    gave_up_at = CASE WHEN n.tried_at < now() - interval '1 day' THEN now() END
WHERE n.id = %(id)s::bigint AND n.attempts = %(attempt)s::int AND n.sent_at IS NULL
RETURNING n.id

-- name: latest_notices
-- The latest notices and their fate: `fate` is sent, waiting (for the first attempt), failing or given up.
SELECT
    n.id,
    n.webhook,
    n.source_id,
    s.name AS source_name,
    n.kind,
    cardinality(n.entries) AS entries,
    public.source_details_time(n.made_at) AS made_at,
    n.attempts,
    CASE
        WHEN n.sent_at IS NOT NULL THEN 'sent'
        WHEN n.gave_up_at IS NOT NULL THEN 'given up'
        WHEN n.last_error IS NOT NULL THEN 'failing'
        ELSE 'waiting'
    END AS fate,
    public.source_details_time(n.sent_at) AS sent_at,
    CASE WHEN n.sent_at IS NULL AND n.gave_up_at IS NULL THEN public.source_details_time(n.due_at) END AS due_at,
    n.last_error
FROM public.source_details_notices AS n
LEFT JOIN public.sources AS s ON s.id = n.source_id
ORDER BY n.id DESC
LIMIT %(count)s::int
