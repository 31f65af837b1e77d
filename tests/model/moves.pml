/* How pages stay right while something moves from one source to another, as a model for spin.
 *
 * A row (a table, a pipeline, a link) belongs to source 0 or 1. Movers change that; writers change what is below the row.
 * A writer finds the source through the row, as a trigger does, and tells of that source when it commits. A mover that has
 * not committed by then is not seen. So a move leaves its sources unsettled (migrations/present/04_notify.sql).
 * Modelled: the log's unsettled rows, their horizon, their pruning (03_refresh.sql), and readers that keep a page if it is
 * settled and nobody has evicted it meanwhile. Whoever commits has told all processes: what is on its way is another
 * model's subject (tests/simulation).
 *
 * Asserted, by the names that spin's message ends with:
 *   keeps_less   no page is kept that lacks what is committed
 *   untold       an open page, which is read again when its source is told of, shows in the end what is committed
 *   stays_live   when all have ended, two polls make readers keep pages again
 * -DNO_... takes one guard out; see test_model.py.
 */
#ifndef MOVERS
#define MOVERS 1          /* transactions that move the row; some poll before they end */
#endif
#ifndef WRITERS
#define WRITERS 2         /* transactions that write below the row; the first may have an old snapshot */
#endif
#ifndef OPEN_PAGES
#define OPEN_PAGES 1      /* 0: only what is kept is looked at */
#endif
#define POLLS 2           /* refreshes: each gives horizons, then prunes */

/* Transaction numbers are 1, 2, ...; sets of them are bits. */
#define BIT(x) (1 << (x))
byte next = 1, running;
byte place, data;                 /* what is committed: the row's source, and who has written below it */
byte unsettled, horizon[10];      /* the log's rows, by the mover's number; 0: none yet */
short kept[2] = -1, open[2] = -1; /* the page of each source in the caches (-1: none), and as an open page shows it */
byte lease[2];                    /* whose page may be kept */
byte mover, poller, gone;         /* the row's lock, and that of the log's rows */
bool keeps_less, untold, stays_live;    /* always false: they name what is violated in spin's message */
#define ME (_pid + 1)
#define SHOWS(s) (place == (s) -> 1 + data : 0)
#define IS_RIGHT(s) (kept[s] == -1 || kept[s] == SHOWS(s))

/* The guards. */
#ifdef NO_UNSETTLED
#define LEAVES(x) 0
#else
#define LEAVES(x) BIT(x)
#endif
#ifdef NO_HORIZON
#define IS_OVER(x) true
#else
#define IS_OVER(x) (given[x] && given[x] <= xmin)
#endif
#ifdef NO_LATER_HORIZON
#define HORIZON(x) (x)
#else
#define HORIZON(x) xid
#endif
#ifdef NO_OWN_ROW
#define STAMPED (unsettled | own)
#else
#define STAMPED unsettled
#endif

inline take_number() { xid = next; next++; running = running | BIT(xid) }

inline tell(s) { kept[s] = -1; lease[s] = 0; open[s] = SHOWS(s) }

inline check() { assert(IS_RIGHT(0) && IS_RIGHT(1) || keeps_less) }

/* source_details_refresh_if_due(): rows without a horizon get one, ... */
inline stamp() {
    for (n : 1 .. 7) {
        given[n] = horizon[n];
        if :: (STAMPED & BIT(n)) && given[n] == 0 -> given[n] = HORIZON(n) :: else fi
    };
    n = 0
}

/* ... and those go that the refresh's snapshot has seen the end of: none that was running then is from before. */
inline prune() {
    xmin = 1;
    do :: xmin < next && !(running & ~BIT(xid) & BIT(xmin)) && xmin != xid -> xmin++ :: else -> break od;
    for (n : 1 .. 7) {
        if :: (unsettled & BIT(n)) && n != xid && IS_OVER(n) -> pruned = pruned | BIT(n) :: else fi
    };
    n = 0; xmin = 0
}

inline commit() {
    for (n : 1 .. 7) { if :: given[n] -> horizon[n] = given[n] :: else fi; given[n] = 0 };
    n = 0;
    unsettled = (unsettled | own) & ~pruned;
    running = running & ~BIT(xid);
    if :: poller == ME -> poller = 0 :: else fi;
    gone++
}

proctype move() {
    byte xid, own, pruned, given[8], n, xmin;
    atomic { mover == 0 -> mover = ME; take_number(); own = LEAVES(xid) };
    if
    :: atomic { poller == 0 -> poller = ME; stamp() }; atomic { prune() }
    :: skip
    fi;
    atomic {
        place = 1 - place; mover = 0; commit(); tell(0); tell(1); check();
        xid = 0; own = 0; pruned = 0
    }
}

proctype write(bool is_old) {
    byte xid, seen, all;
    seen = place;                       /* the old snapshot */
    atomic {
        take_number();
        if
#ifndef NO_TELLING_ALL
        :: is_old -> all = 1
#else
        :: is_old -> skip
#endif
        :: else -> seen = place         /* the trigger's own statement sees what is committed by now */
        fi
    };
    atomic {
        data = data | BIT(xid); running = running & ~BIT(xid);
        if :: all -> tell(0); tell(1) :: else -> tell(seen) fi;
        check(); gone++; xid = 0; seen = 0; all = 0
    }
}

proctype poll() {
    byte xid, own, pruned, given[8], n, xmin;
    atomic { poller == 0 -> poller = ME; take_number(); stamp() };
    atomic { prune() };
    atomic {
        commit();
#ifndef NO_TELLING
        if :: pruned -> tell(0); tell(1) :: else fi;
#endif
        check(); xid = 0; pruned = 0
    }
}

/* One statement sees the page and the log; keeping it is another step. */
proctype read(byte s) {
    short page;
    bool is_settled;
    atomic { lease[s] = ME; page = SHOWS(s); is_settled = unsettled == 0 };
    atomic {
        if :: is_settled && lease[s] == ME -> kept[s] = page; check() :: else fi;
        page = 0; is_settled = false
    }
}

init {
    byte n;
    atomic {
        open[0] = SHOWS(0); open[1] = SHOWS(1);
        for (n : 1 .. MOVERS) { run move() };
        for (n : 1 .. WRITERS) { run write(n == 1) };
        for (n : 1 .. POLLS) { run poll() };
        /* One page each is every page: whatever is kept is looked at after each step. */
        run read(0); run read(1);
        n = 0
    };
    gone == MOVERS + WRITERS + POLLS;
    run poll();
    gone == MOVERS + WRITERS + POLLS + 1;
    run poll();
    gone == MOVERS + WRITERS + POLLS + 2;
    assert(unsettled == 0 || stays_live);
    assert(OPEN_PAGES == 0 || open[0] == SHOWS(0) && open[1] == SHOWS(1) || untold)
}
