-- 015: what a source's own statistics say of its published tables, once per round of the WAL monitor.

CREATE TABLE IF NOT EXISTS public.source_details_activity (
    source_id integer NOT NULL REFERENCES public.sources (id) ON DELETE CASCADE,
    table_name text COLLATE "C" NOT NULL,           -- the table's key (source_details_registered)
    bytes bigint,                                   -- with TOAST and without indexes, at the last VACUUM or ANALYZE
    rows bigint,                                    -- estimated; NULL: never vacuumed nor analyzed
    writes bigint NOT NULL,                         -- rows inserted, updated and deleted, as the server counts them
    leaves bigint NOT NULL,                         -- of which tables: the sum of their OIDs
    writes_a_minute double precision,               -- since the count before; NULL: not known
    last_write_at timestamptz,                      -- as of a round; NULL: none was seen
    PRIMARY KEY (source_id, table_name)
);

COMMENT ON TABLE public.source_details_activity IS
'Size, rows and writes of published tables, from the statistics of their source.';

CREATE TABLE IF NOT EXISTS public.source_details_activity_round (
    source_id integer PRIMARY KEY REFERENCES public.sources (id) ON DELETE CASCADE,
    counted_at timestamptz NOT NULL,
    basis text NOT NULL                             -- since when the server counts: counts of two bases do not compare
);
