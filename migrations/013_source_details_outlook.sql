-- 013: what the WAL monitor concludes from its history, beside what it measured: the lag in seconds, and when the slot is
-- lost if its WAL goes on growing as it does.
ALTER TABLE public.source_details_lag
    ADD COLUMN IF NOT EXISTS lag_s double precision,        -- since when the server's WAL is beyond what is confirmed
    ADD COLUMN IF NOT EXISTS lag_most_s double precision,   -- surely no longer than that
    ADD COLUMN IF NOT EXISTS lost_in_s double precision,    -- NULL: not at this rate, or not known
    ADD COLUMN IF NOT EXISTS rate_bytes double precision,   -- by which that comes nearer, a second
    ADD COLUMN IF NOT EXISTS rate_over_s double precision,  -- the time over which the rate was measured
    ADD COLUMN IF NOT EXISTS is_disk_limit boolean,         -- the server's disk is full then; the slot itself has no limit
    ADD COLUMN IF NOT EXISTS held_by jsonb;                 -- the transaction that the slot waits for, if one is known
