-- 011: computes the view, with the triggers of 010 in place: from here on nothing is written unheard.
--
-- In a file of its own, so that no table is locked while the view is computed.
SELECT public.source_details_refresh();
