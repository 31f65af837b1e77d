-- 014: what happened to each source, and the notices of it that webhooks are owed.
--
-- The triggers of present/04_notify.sql write the timeline in the transaction of the fact itself. It is for people and
-- webhooks: no page reads it, so it neither notifies nor evicts. No foreign keys: a writer must wait for no source's row.

CREATE TABLE IF NOT EXISTS public.source_details_timeline (
    -- No key: a sequence that was restored behind its rows must fail no writer.
    id bigint GENERATED ALWAYS AS IDENTITY,
    source_id integer NOT NULL,                     -- 0: every source
    happened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind text NOT NULL,                             -- see present/02_timeline.sql
    facts jsonb NOT NULL,
    role text DEFAULT session_user,                 -- as PostgreSQL knows them; NULL: from before this table
    program text DEFAULT nullif(current_setting('application_name', true), ''),
    is_noticed boolean NOT NULL DEFAULT false       -- the webhooks that want it have notices
);

COMMENT ON TABLE public.source_details_timeline IS
'What happened to each source, by whom. Kept for 90 days, and at most 1,000 entries of a source.';

CREATE INDEX IF NOT EXISTS source_details_timeline_source
    ON public.source_details_timeline (source_id, id);
CREATE INDEX IF NOT EXISTS source_details_timeline_id ON public.source_details_timeline (id);
CREATE INDEX IF NOT EXISTS source_details_timeline_unnoticed
    ON public.source_details_timeline (id) WHERE NOT is_noticed;

CREATE TABLE IF NOT EXISTS public.source_details_notices (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook text NOT NULL,                          -- its name in ROSETTA_WEBHOOKS
    source_id integer NOT NULL,
    kind text NOT NULL,
    entries bigint [] NOT NULL,                     -- of the timeline, at most the latest 1,000
    left_out integer NOT NULL DEFAULT 0,            -- how many earlier ones there were
    made_at timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL,                    -- after a claim: when the sender counts as gone
    attempts integer NOT NULL DEFAULT 0,
    tried_at timestamptz,                           -- the first attempt
    sent_at timestamptz,
    gave_up_at timestamptz,
    last_error text
);

COMMENT ON TABLE public.source_details_notices IS
'Notices for webhooks, and their fate. Kept for 30 days.';

-- One notice waits for each: what happens until it is due is added to it.
CREATE UNIQUE INDEX IF NOT EXISTS source_details_notices_waiting
    ON public.source_details_notices (webhook, source_id, kind) WHERE attempts = 0;
CREATE INDEX IF NOT EXISTS source_details_notices_due
    ON public.source_details_notices (due_at) WHERE sent_at IS NULL AND gave_up_at IS NULL;
CREATE INDEX IF NOT EXISTS source_details_notices_latest
    ON public.source_details_notices (webhook, source_id, kind, made_at);

-- The changes that the history already has: when they were recorded, and not by whom. Once.
INSERT INTO public.source_details_timeline (source_id, happened_at, kind, facts, role, program, is_noticed)
SELECT
    latest.source_id,
    latest.created_at,
    'schema',
    jsonb_build_object('what', 'changed', 'count', 1, 'items', jsonb_build_array(latest.item)),
    NULL,
    NULL,
    true
FROM (
    SELECT
        t.source_id,
        h.created_at,
        jsonb_build_object('id', t.id, 'table', t.table_name, 'version', h.version_schema) AS item,
        row_number() OVER (PARTITION BY t.source_id ORDER BY h.created_at DESC) AS place
    FROM (
        SELECT a.id, a.source_id, a.table_name FROM public.table_metadata_list AS a
        UNION ALL
        SELECT b.id, b.source_id, b.table_name FROM public.source_details_other_tables AS b
    ) AS t
    INNER JOIN (
        SELECT c.table_metadata_list_id, c.version_schema, c.created_at FROM public.history_schema_evolution AS c
        UNION ALL
        SELECT d.table_metadata_list_id, d.version_schema, d.created_at FROM public.source_details_other_versions AS d
    ) AS h ON h.table_metadata_list_id = t.id
    WHERE h.version_schema > 1 AND h.created_at > now() - interval '90 days'
) AS latest
WHERE latest.place <= 1000 AND NOT EXISTS (SELECT FROM public.source_details_timeline)
ORDER BY latest.created_at;

-- After a restore, or an upgrade by logical replication, the sequences may be behind.
SELECT
    setval(
        pg_get_serial_sequence('public.source_details_timeline', 'id'),
        greatest((SELECT max(e.id) FROM public.source_details_timeline AS e), 1)
    ),
    setval(
        pg_get_serial_sequence('public.source_details_notices', 'id'),
        greatest((SELECT max(n.id) FROM public.source_details_notices AS n), 1)
    );
