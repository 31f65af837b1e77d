/* What PostgreSQL does between commit, log, refresh, note, pruning and read, as a model for spin.
 *
 * Modelled: transactions that write, refresh in every form, and write again; the log, the note and the pruning
 * (migrations/present/03_refresh.sql); readers (sql/details.sql); a table that is rewritten; a state that was restored
 * from another server. All concern one source. A step is what one statement does with its snapshot and the locks that it
 * takes for it. A transaction that would wait forever is rolled back: PostgreSQL ends a deadlock.
 * Left out: a view without rows (no reader trusts it), subtransactions (snapshots and log have top-level numbers only),
 * REPEATABLE READ (a refresh there fails if another was noted meanwhile), and the spacing of refreshes.
 *
 * Asserted, by the names that spin's message ends with:
 *   reads_less   no reader that begins after a commit sees less than that commit
 *   in_vain      no refresh is refused, repeated or called late for a reason that a guard rules out
 *   stays_live   when all have ended, two polls make readers trust the view again
 * -DNO_... takes one guard out. test_model.py lists the guards, and what is violated without each. To see how:
 *   spin -run -DSAFETY -DNO_ORDER_CHECK -DHAS_TRIGGER=1 view.pml
 *   spin -t -DNO_ORDER_CHECK -DHAS_TRIGGER=1 view.pml
 */
#ifndef WRITERS
#define WRITERS 2         /* transactions that write, perhaps refresh, perhaps write again */
#endif
#ifndef REFRESHES
#define REFRESHES 2       /* transactions that refresh, by hand or not, or poll */
#endif
#ifndef POLLS
#define POLLS 0           /* transactions that only poll */
#endif
#ifndef HAS_TRIGGER
#define HAS_TRIGGER 0     /* 1: an event trigger notes refreshes by hand at once; 0: the next poll does */
#endif
#ifndef ALTERS
#define ALTERS 0          /* transactions that rewrite a table */
#endif
#ifndef FOREIGN
#define FOREIGN 0         /* not 0: state and log come from another server, and name this number, which is to come */
#endif

/* Transaction numbers are 1, 2, ...; sets of them are bits. A snapshot is its xmax, and below that the set in progress.
 * The taker's own number is not in it. */
#define BIT(x) (1 << (x))
#define COUNT(m) (((m) & 1) + ((m) >> 1 & 1) + ((m) >> 2 & 1) + ((m) >> 3 & 1) \
    + ((m) >> 4 & 1) + ((m) >> 5 & 1) + ((m) >> 6 & 1) + ((m) >> 7 & 1))
#define SNAPSHOT (ended << 8 | (running & ~BIT(xid) & (BIT(ended) - 1)))
#define XMAX(s) ((s) >> 8)
#define SEEN(s) ((BIT(XMAX(s)) - 1) & ~(s) & 255)

byte next = 1, ended = 1;         /* the next number; the highest that has ended, plus one */
byte running;                     /* the numbers in progress */
int data = 1;                     /* what is committed: bit x is x's first write, x + 8 its second, 0 from before */
#if FOREIGN
byte log = BIT(FOREIGN), noted_by = FOREIGN; int noted_seen = (FOREIGN + 1) << 8;
#else
byte log, noted_by; int noted_seen = 256;      /* rows of source_details_log, by number; source_details_refresh_state */
#endif
byte deleting;                                 /* the log's rows that state_holder has deleted */
int view = 1, view_seen = 256; byte view_by;   /* the view: its rows, the snapshot that they are from, and whose it is */
byte altered;                                  /* who rewrote the table: it is empty to older snapshots */
byte by_service;                               /* who refreshed by source_details_refresh() */
bool reads_less, in_vain, stays_live;           /* always false: they name what is violated in spin's message */
byte begun = 1, gone;                          /* processes: a set, and a count */

/* Locks: of the tables (shared, or to rewrite them), the view (to read it, to refresh it, plainly or not), the row of
 * the state, and the advisory lock of our own refreshes. */
byte table_users, table_alterer, view_users, refresher, state_holder, advisory, log_users, log_locker;
bool is_plain;
#define ME (_pid + 1)
#define FREE(lock) (lock == 0 || lock == ME)
#define WAIT(condition) if :: condition :: timeout -> roll_back(); goto finish fi

/* What a transaction sees itself: what it has stored, else what is committed. */
#define VIEW_SEEN (stored -> my_seen : view_seen)
#define VIEW_BY (stored -> xid : view_by)
#define NOTED_SEEN (noted -> seen : noted_seen)
#define NOTED_BY (noted -> by : noted_by)
#define LOG (state_holder == ME -> log & ~deleting : log)
#define IS_CLEAN (!logged && LOG == 0)

/* The guards. */
#ifdef NO_OWN_NUMBER_IN_ORDER
#define ORDER(s, x) (XMAX(s) * 16 - COUNT((s) & 255))
#else
#define ORDER(s, x) (XMAX(s) * 16 - COUNT((s) & 255) - ((x) < XMAX(s)))
#endif
#ifdef NO_FOREIGN_SNAPSHOT
#define IS_FOREIGN(s) false
#else
#define IS_FOREIGN(s) (XMAX(s) > ended)
#endif
#ifdef NO_ORDER_CHECK
#define IS_EARLIER(s, x, t, y) false
#else
#define IS_EARLIER(s, x, t, y) (!IS_FOREIGN(t) && ORDER(s, x) < ORDER(t, y))
#endif
#define SEES_TABLE(s) (altered == 0 || (SEEN(s) & BIT(altered)))
#ifdef NO_SIGHT_OF_TABLES
#define IS_BLIND(s) false
#else
#define IS_BLIND(s) (!SEES_TABLE(s))
#endif
#ifdef NO_VISIBILITY
#define COVERED(s, x) (255 & ~BIT(x))
#elif defined(NO_OWN_ROWS)
#define COVERED(s, x) SEEN(s)
#else
#define COVERED(s, x) (SEEN(s) & ~BIT(x))
#endif
#ifdef NO_NUMBER_IN_KNOWN
#define IS_KNOWN (now_seen == was_seen)
#else
#define IS_KNOWN (now_seen == was_seen && now_by == was_by)
#endif
#ifdef NO_OWN_ROWS_OF_FUTURE
#define FUTURE_ROWS (LOG & ~(BIT(ended) - 1))
#else
#define FUTURE_ROWS (LOG & ~(BIT(ended) - 1) & ~BIT(xid))
#endif
#ifdef NO_COMPARISON
#define TRUSTS_VIEW (log == 0)
#elif defined(NO_NUMBER_IN_COMPARISON)
#define TRUSTS_VIEW (log == 0 && view_seen == noted_seen)
#else
#define TRUSTS_VIEW (log == 0 && view_seen == noted_seen && view_by == noted_by)
#endif

inline roll_back() {
    printf("%d is rolled back\n", _pid);
    wrote = 0; logged = false; stored = false; noted = false;
    if :: state_holder == ME -> deleting = 0 :: else fi
}

inline take_number() {
    if :: xid == 0 -> xid = next; next++; running = running | BIT(xid) :: else fi
}

inline lock_tables() {
    WAIT(FREE(table_alterer));
    table_users = table_users | BIT(_pid)
}

/* A change and its log row: INSERT ... ON CONFLICT DO NOTHING waits for whoever deletes a row of the same number. */
inline write(which) {
    atomic {
        lock_tables();
        WAIT(FREE(log_locker) && (FREE(state_holder) || !(deleting & BIT(xid -> xid : next))));
        log_users = log_users | BIT(_pid);
        take_number();
        wrote = wrote | BIT(xid) << which;
        logged = logged || !(LOG & BIT(xid));
        printf("%d writes, as transaction %d\n", _pid, xid)
    }
}

/* The refresh itself: the view's lock, the tables', and the rows at the snapshot, which was taken before. */
inline compute(plainly) {
    WAIT(FREE(refresher) && (!plainly || !(view_users & ~BIT(_pid))));
    take_number();
    refresher = ME; is_plain = plainly;
    lock_tables();
    content = (SEES_TABLE(my_seen) -> (data & (SEEN(my_seen) | SEEN(my_seen) << 8)) | wrote : 0);
    stored = true;
    printf("%d computes the view, as transaction %d\n", _pid, xid)
}

/* source_details_note_refresh(): the first look at the view, ... */
inline look() {
    WAIT(FREE(refresher) || !is_plain);
    view_users = view_users | BIT(_pid);
    now_seen = VIEW_SEEN; now_by = VIEW_BY;
    printf("%d looks at the view\n", _pid)
}

/* ... and the rest, with the state's lock. */
inline note() {
    atomic {
#ifndef NO_ROW_LOCK
        WAIT(FREE(state_holder));
        state_holder = ME;
#endif
        take_number();
        was_seen = NOTED_SEEN; was_by = NOTED_BY
#ifdef NO_ROW_LOCK
    };
    atomic {
        WAIT(FREE(state_holder));
        state_holder = ME
#endif
        ;
#ifndef NO_SECOND_LOOK
        now_seen = VIEW_SEEN; now_by = VIEW_BY;
#endif
        is_late = false;
        if
        :: IS_KNOWN -> printf("%d: known\n", _pid)
        :: else ->
#ifndef NO_FUTURE_ROWS
            if
            :: FUTURE_ROWS ->
#ifndef NO_LOG_LOCK
                WAIT(FREE(log_locker) && !(log_users & ~BIT(_pid)));
                log_locker = ME;
#endif
                deleting = deleting | FUTURE_ROWS
            :: else
            fi;
#ifdef NO_OWN_ROWS_OF_FUTURE
            logged = logged && xid < ended;
#endif
#endif
            is_late = IS_EARLIER(now_seen, now_by, was_seen, was_by) || IS_BLIND(now_seen);
            if
            :: is_late ->
                printf("%d: late\n", _pid);
                /* In vain: the view is the noted one after all. */
                assert(VIEW_SEEN != was_seen || VIEW_BY != was_by || in_vain)
            :: else ->
                deleting = deleting | (log & COVERED(now_seen, now_by));
                logged = logged && !(COVERED(now_seen, now_by) & BIT(xid));
                seen = now_seen; by = now_by; noted = true;
                printf("%d notes the refresh of %d\n", _pid, by)
            fi
        fi;
        if
        :: is_late && stored ->
            /* In vain: our own refreshes wait for each other, and for tables, before they read. */
            assert(!is_ours || !(by_service & BIT(was_by)) && SEES_TABLE(now_seen) || in_vain);
            roll_back(); goto finish
        :: else
        fi;
        was_seen = 0; was_by = 0; now_seen = 0; now_by = 0
    }
}

/* REFRESH MATERIALIZED VIEW by hand. */
inline refresh_by_hand() {
    my_seen = SNAPSHOT; printf("%d refreshes by hand: takes its snapshot\n", _pid);
    if
    :: atomic { compute(true); if :: HAS_TRIGGER -> look() :: else fi }
    :: atomic { compute(false); if :: HAS_TRIGGER -> look() :: else fi }
    fi;
    if :: HAS_TRIGGER -> note() :: else fi
}

/* source_details_refresh() */
inline refresh() {
    atomic {
#ifndef NO_ADVISORY_LOCK
        WAIT(FREE(advisory)); advisory = ME;
#endif
#ifndef NO_TABLE_LOCK
        lock_tables();
#endif
        my_seen = SNAPSHOT; printf("%d refreshes by the function: takes its snapshot\n", _pid)
    };
    atomic { compute(false); is_ours = true; look() };
    note()
}

/* source_details_refresh_if_due() */
inline poll() {
    is_late = false; printf("%d polls\n", _pid);
    if
    :: atomic { VIEW_SEEN != NOTED_SEEN || VIEW_BY != NOTED_BY -> look() }; note()
    :: else
    fi;
    if
    :: is_late || !IS_CLEAN ->
        atomic {
            if
            :: FREE(advisory) -> advisory = ME
            :: else -> goto finish
            fi;
#ifndef NO_SECOND_CHECK
            if :: !is_late && IS_CLEAN -> goto finish :: else fi;
#endif
            /* In vain: another process has refreshed. */
            assert(is_late || !IS_CLEAN || in_vain)
        };
        refresh()
    :: else
    fi
}

/* What one statement of a reader shows. What it sees changes only with commits: one reader after each of them is every
 * reader. */
inline read() {
    shown = (TRUSTS_VIEW -> view : data);
    printf("a reader sees %x of %x\n", shown, data);
    assert((shown & data) == data || reads_less);
    shown = 0
}

/* The end of a transaction: it becomes visible, and releases its locks. Its variables are reset, to save states. */
inline end_transaction() {
    data = data | wrote;
    log = LOG | (logged -> BIT(xid) : 0);
    if :: stored -> view = content; view_seen = my_seen; view_by = xid :: else fi;
    if :: stored && is_ours -> by_service = by_service | BIT(xid) :: else fi;
    if :: noted -> noted_seen = seen; noted_by = by :: else fi;
    if :: xid -> running = running & ~BIT(xid); ended = (ended > xid -> ended : xid + 1) :: else fi;
    if :: refresher == ME -> refresher = 0; is_plain = false :: else fi;
    if :: advisory == ME -> advisory = 0 :: else fi;
    if :: state_holder == ME -> state_holder = 0; deleting = 0 :: else fi;
    if :: log_locker == ME -> log_locker = 0 :: else fi;
    log_users = log_users & ~BIT(_pid);
    table_users = table_users & ~BIT(_pid);
    view_users = view_users & ~BIT(_pid);
    printf("%d has ended\n", _pid);
    xid = 0; by = 0; now_by = 0; was_by = 0; wrote = 0; content = 0; my_seen = 0; seen = 0; now_seen = 0; was_seen = 0;
    logged = false; stored = false; noted = false; is_late = false; is_ours = false;
    gone++
}

#define WRITER 0
#define REFRESH 1
#define POLL 2
#define ALL (WRITERS + REFRESHES + POLLS + ALTERS)

/* `after`: an equal one that begins before, since it makes no difference which of them does. */
proctype transaction(byte kind; byte after) {
    byte xid, by, now_by, was_by;
    int wrote, content, my_seen, seen, now_seen, was_seen, shown;
    bool logged, stored, noted, is_late, is_ours;

    atomic {
        begun & BIT(after);
        if
        :: kind == WRITER -> write(0)
        :: kind == REFRESH -> take_number()     /* it has written elsewhere */
        :: kind != WRITER
        fi;
        begun = begun | BIT(_pid)
    };
    if
    :: atomic { kind == WRITER -> goto finish }
    :: kind != POLL -> refresh_by_hand()
    :: kind != POLL -> refresh()
    :: poll()
    fi;
    if
    :: kind == WRITER -> write(8)
    :: atomic { true -> goto finish }
    fi;
finish:
    atomic { end_transaction(); read() }
}

proctype alter() {
    byte xid;
    atomic { table_users == 0 && table_alterer == 0 -> table_alterer = ME; take_number() };
    atomic {
        altered = xid; table_alterer = 0;
        running = running & ~BIT(xid); ended = (ended > xid -> ended : xid + 1);
        printf("%d has rewritten the table, as transaction %d\n", _pid, xid);
        xid = 0; gone++
    }
}

init {
    byte last, n;
    atomic {
        do :: n < WRITERS -> last = run transaction(WRITER, last); n++ :: else -> break od;
        last = 0; n = 0;
        do :: n < REFRESHES -> last = run transaction(REFRESH, last); n++ :: else -> break od;
        last = 0; n = 0;
        do :: n < POLLS -> last = run transaction(POLL, last); n++ :: else -> break od;
        last = 0; n = 0;
        do :: n < ALTERS -> run alter(); n++ :: else -> break od;
        n = 0
    };
    for (n : 0 .. 1) {
        gone == ALL + n;
        run transaction(POLL, 0)
    };
    gone == ALL + 2;
    assert(TRUSTS_VIEW || stays_live)
}
