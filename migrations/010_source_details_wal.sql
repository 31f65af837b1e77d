-- 010: what the WAL monitor measured of each source over the last day, and when its next round is due.

CREATE TABLE IF NOT EXISTS public.source_details_lag (
    source_id integer NOT NULL REFERENCES public.sources (id) ON DELETE CASCADE,
    seen_at timestamptz NOT NULL DEFAULT now(),
    lag_bytes bigint,                               -- how far the slot's client is behind the server
    retained_bytes bigint,                          -- of WAL that the slot retains
    confirmed_lsn pg_lsn,
    restart_lsn pg_lsn,
    wal_status text,
    safe_wal_size bigint,                           -- bytes that can still be written before the slot may be lost
    inactive_since timestamptz,
    PRIMARY KEY (source_id, seen_at)
);

COMMENT ON TABLE public.source_details_lag IS
'Replication lag of each source over the last day, as source_details'' WAL monitor saw it.';

CREATE TABLE IF NOT EXISTS public.source_details_wal_round (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    due_at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO public.source_details_wal_round DEFAULT VALUES ON CONFLICT DO NOTHING;
