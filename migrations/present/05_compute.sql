-- Computes the view, with the triggers of 04 in place: from here on every write is noticed. Evicts every cached page.
--
-- In a file of its own, so that no table is locked while the view is computed.
SELECT public.source_details_refresh();
