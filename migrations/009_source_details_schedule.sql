-- 009: when each source is synced next in the background, by any free process, and what failed.

CREATE TABLE IF NOT EXISTS public.source_details_schedule (
    source_id integer PRIMARY KEY REFERENCES public.sources (id) ON DELETE CASCADE,
    due_at timestamptz NOT NULL,
    claimed_until timestamptz,                      -- a process is syncing it; after that, the process counts as gone
    failures integer NOT NULL DEFAULT 0,            -- in a row
    failing_since timestamptz,
    last_error text
);

COMMENT ON TABLE public.source_details_schedule IS
'When source_details syncs each source next by itself. To have one synced at once: UPDATE ... SET due_at = now().';

CREATE INDEX IF NOT EXISTS source_details_schedule_due_at ON public.source_details_schedule (due_at);
