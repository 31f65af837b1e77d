-- 016: since which transaction the texts of fragments are what they are. A process that has fragments from before it has
-- none, whether it was told or not.
ALTER TABLE public.source_details_refresh_state
    ADD COLUMN IF NOT EXISTS texts_xid xid8 NOT NULL DEFAULT '1';   -- of the last refresh that evicted every page
