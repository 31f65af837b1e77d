-- 012: which changes are not settled yet, and how the watched tables looked at the last poll.
--
--   source_details_log.is_unsettled             something moved between sources, and transactions of that time may still
--                                               have changed what is below it
--   source_details_log.horizon                  once every transaction before this one has ended, none of them is left
--   source_details_refresh_state.tables_form    without the event trigger: how a poll notices that a table was altered
ALTER TABLE public.source_details_log
    ADD COLUMN IF NOT EXISTS is_unsettled boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS horizon xid8;
ALTER TABLE public.source_details_refresh_state ADD COLUMN IF NOT EXISTS tables_form text;

-- A column of this view has another meaning now. The present replaces the view, and its owner stays the same.
DO $$
BEGIN
    IF EXISTS (
        SELECT
        FROM pg_attribute AS a
        WHERE a.attrelid = to_regclass('public.source_details_watched_tables') AND a.attname = 'locks'
    ) THEN
        ALTER TABLE public.source_details_watched_tables RENAME COLUMN locks TO is_known;
    END IF;
END
$$;
