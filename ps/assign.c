/* Shares of work: see assign.h. */
#include "ps/assign.h"

#define NEWS 0.3 /* weight of the last run in the mean of a worker's speed */
#define SECOND_CHANCE 16
#define SLOW 0.25     /* of the mean speed: may get nothing */
#define PATIENCE 15.0 /* times the least time, with a run while no speed is known */

bool ps_assign_idle(const struct ps_worker *worker)
{
    return worker->present && (worker->run.at < 0 || worker->run.left == 0);
}

/* Whether somebody's speed will be known soon: its first run is going on. Nobody has had one before the first step. */
static bool is_learning(const struct ps_roster *roster)
{
    if (roster->known_weight <= 0.0)
        return true;
    for (int w = 0; w < roster->worker_end; w++)
        if (roster->workers[w].present && roster->workers[w].seconds_per_slot <= 0.0 &&
                !ps_assign_idle(&roster->workers[w]))
            return true;
    return false;
}

/* While speeds are being learned nobody takes more of what everybody waits for than two units for each of its threads: whoever has just joined is soon idle again. Not one: a pair of slots of one thread needs
 * memory for one gradient (worker/finishing.h), two nodes for two. */
static uint32_t most_at_once(const struct ps_roster *roster, int worker)
{
    uint32_t threads = roster->workers[worker].threads; /* as it says itself */
    if (!is_learning(roster) || threads > UINT32_MAX / 2)
        return UINT32_MAX;
    return 2 * (threads > 0 ? threads : 1);
}

bool ps_assign_share(const struct ps_roster *roster, const struct ps_open_step *step, int worker,
        bool among_idle, uint32_t *ret_begin, uint32_t *ret_end)
{
    double total = 0.0, own = ps_roster_weight(roster, worker);
    int count = 0;
    /* idle workers are asked in order: those before this one have had their share */
    for (int w = among_idle ? worker : 0; w < roster->worker_end; w++) {
        if (!roster->workers[w].present || (among_idle && !ps_assign_idle(&roster->workers[w])))
            continue;
        total += ps_roster_weight(roster, w);
        count++;
    }
    double part = (among_idle ? step->todo : step->units) * own / total;
    /* with local shards it may be the only one that has the data */
    bool slow = roster->workers[worker].readable == NULL && part < 0.5 && own * count < SLOW * total;
    if (slow && ((uint64_t)step->step + roster->workers[worker].rank) % SECOND_CHANCE != 0)
        return false;
    uint32_t share = part < 1.0 ? 1 : (uint32_t)(part + 0.5);
    uint32_t most = among_idle ? most_at_once(roster, worker) : UINT32_MAX;
    return ps_open_step_free_stretch(
            step, share < most ? share : most, roster->workers[worker].readable, ret_begin, ret_end);
}

/* How many times what is allowed the worker's run has taken. */
static double overdue(
        const struct ps_roster *roster, int worker, int64_t now_us, double factor, int64_t least_us)
{
    const struct ps_run *run = &roster->workers[worker].run;
    double elapsed = (double)(now_us - run->assigned_us);
    if (elapsed < (double)least_us)
        return 0.0;
    if (roster->known_weight <= 0.0)
        return elapsed / (PATIENCE * (double)least_us);
    return elapsed * 1e-6 * ps_roster_weight(roster, worker) / (factor * (run->end - run->begin));
}

bool ps_assign_overdue(
        const struct ps_roster *roster, int worker, int64_t now_us, double factor, int64_t least_us)
{
    return overdue(roster, worker, now_us, factor, least_us) > 1.0;
}

int ps_assign_straggler(const struct ps_roster *roster, int64_t now_us, double factor, int64_t least_us)
{
    double worst = 1.0;
    int straggler = -1;
    for (int w = 0; w < roster->worker_end; w++) {
        const struct ps_worker *worker = &roster->workers[w];
        if (!worker->present || ps_assign_idle(worker) || worker->run.shadow >= 0 ||
                worker->run.phase == SL_PHASE_AUDIT)
            continue;
        double late = overdue(roster, w, now_us, factor, least_us);
        if (late <= worst)
            continue;
        worst = late;
        straggler = w;
    }
    return straggler;
}

bool ps_assign_rest(
        const struct ps_open_step *step, const struct ps_run *run, uint32_t *ret_begin, uint32_t *ret_end)
{
    uint32_t begin = run->begin;
    while (begin < run->end && step->owner[begin] == PS_UNIT_DONE)
        begin++;
    uint32_t end = begin;
    while (end < run->end && step->owner[end] != PS_UNIT_DONE)
        end++;
    *ret_begin = begin;
    *ret_end = end;
    return begin < end;
}

static double seconds_per_unit(const struct ps_run *run, int64_t now_us)
{
    return (double)(now_us - run->assigned_us) * 1e-6 / (run->end - run->begin);
}

void ps_assign_learn(struct ps_roster *roster, int worker, int64_t now_us)
{
    const struct ps_worker *w = &roster->workers[worker];
    double seconds = seconds_per_unit(&w->run, now_us), known = w->seconds_per_slot;
    if (w->run.phase == SL_PHASE_TRAIN)
        seconds += w->scoring_seconds;
    if (seconds > 0.0)
        ps_roster_set_speed(roster, worker, known > 0.0 ? known + NEWS * (seconds - known) : seconds);
}

void ps_assign_learn_scoring(struct ps_roster *roster, int worker, int64_t now_us)
{
    struct ps_worker *w = &roster->workers[worker];
    w->scoring_seconds = seconds_per_unit(&w->run, now_us);
}
