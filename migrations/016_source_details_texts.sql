-- 016: the transaction that began the present epoch. Fragments from an earlier one count for nothing, whether their process
-- was told or not.
ALTER TABLE public.source_details_refresh_state
    ADD COLUMN IF NOT EXISTS epoch_xid xid8 NOT NULL DEFAULT '1';   -- of the last refresh that evicted every page
