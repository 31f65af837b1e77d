-- Computes the view, now that the triggers of 04 notice every write. Evicts every cached page.
--
-- In a file of its own, so that no table is locked while the view is computed.
SELECT public.source_details_refresh();
