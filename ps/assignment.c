/* Who computes what: the coordinator's open steps and runs. The arithmetic of shares is in assign.c. */
#include "ps/coordinator_parts.h"

#include "common/mutant.h"

#include "common/random.h"
#include "ps/assign.h"

#include <inttypes.h>
#include <string.h>

int64_t ps_coordinator_samples_of_units(
        const struct ps_coordinator *c, const struct ps_open_step *step, uint32_t begin, uint32_t end)
{
    if (step->phase == SL_PHASE_TRAIN)
        return sl_plan_samples(c->plan, step->step, begin, end);
    int64_t size = c->options.config->batch.slot_size, last = (int64_t)end * size,
            samples = (int64_t)c->training.validation_count;
    return (last < samples ? last : samples) - (int64_t)begin * size;
}

bool ps_coordinator_validation_due(const struct ps_coordinator *c)
{
    const struct ps_training *t = &c->training;
    bool epoch_over = t->step > 0 && (t->step % c->steps_per_epoch == 0 || t->step >= c->total_steps);
    return epoch_over && t->validation_count > 0 && t->validated_step != t->step;
}

bool ps_coordinator_out_of_patience(const struct ps_coordinator *c)
{
    int patience = c->options.config->early_stopping.patience;
    return patience > 0 && c->training.validations_without_gain >= patience;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t ps_coordinator_next_boundary(const struct ps_coordinator *c)
{
    int64_t step = c->training.step, every = c->options.config->snapshots.every_steps;
    int64_t next = least((step / c->steps_per_epoch + 1) * c->steps_per_epoch, c->total_steps);
    return every > 0 ? least(next, (step / every + 1) * every) : next;
}

bool ps_coordinator_anything_open(const struct ps_coordinator *c)
{
    for (int i = 0; i < c->open_max; i++)
        if (c->steps[i].open)
            return true;
    return false;
}

/* Servers remember which steps are applied within PS_WINDOW_MAX of the first that is not: that one may be far behind in asp. */
static bool may_open(const struct ps_coordinator *c)
{
    int open = 0;
    int64_t oldest = c->next_step;
    for (int i = 0; i < c->open_max; i++) {
        open += c->steps[i].open;
        if (c->steps[i].open)
            oldest = least(oldest, c->steps[i].step);
    }
    return c->state == STATE_TRAINING && !c->stopping && open < c->open_max && c->next_step < c->boundary &&
           c->next_step < oldest + PS_WINDOW_MAX;
}

enum sl_status ps_coordinator_open_units(struct ps_coordinator *c, int at, enum sl_phase phase, int64_t step,
        uint32_t units, struct sl_error *err)
{
    return ps_open_step_begin(&c->steps[at], phase, step, c->ordered, units,
            (uint32_t)c->options.config->batch.slots, c->options.layout->block_count, c->options.servers,
            c->now_us, err);
}

/* Which steps are audited depends on (seed, step) alone. None in ssp and asp: there two workers may rightly compute the same slots on different parameters. */
static bool is_audited(const struct ps_coordinator *c, int64_t step)
{
    if (c->options.config->consistency.mode != SL_CONSISTENCY_BSP)
        return false;
    struct sl_random random = sl_random_make(c->options.config->seed, SL_RANDOM_AUDIT, (uint64_t)step, 0);
    return (double)sl_random_float(&random, 0) < c->options.config->cluster.audit;
}

/* In bsp the scores of the whole step come first, unless they do not matter. Where steps overlap nobody waits: its coefficients are what the steps before say when it is opened. */
static void begin_early(const struct ps_coordinator *c, struct ps_open_step *step)
{
    bool bsp = c->options.config->consistency.mode == SL_CONSISTENCY_BSP;
    step->scoring = bsp && !ps_modulation_foregone(&c->modulation, c->ordered);
    double k[SL_MODALITIES_MAX] = {0};
    ps_modulation_expect(
            &c->ordered_modulation, &c->modulation, c->ordered, c->options.config->modality_count, k);
    if (!step->scoring)
        ps_coordinator_set_coefficients(c, step, k);
}

static enum sl_status open_next_step(struct ps_coordinator *c, struct sl_error *err)
{
    int at = 0;
    while (c->steps[at].open)
        at++;
    uint32_t slots = sl_plan_slots(c->plan, c->next_step);
    enum sl_status status = ps_coordinator_open_units(c, at, SL_PHASE_TRAIN, c->next_step, slots, err);
    for (uint32_t u = 0; status == SL_OK && c->shard_count > 0 && u < slots; u++)
        c->steps[at].shard[u] = sl_plan_shard(c->plan, c->next_step, u);
    if (status == SL_OK && is_audited(c, c->next_step))
        c->steps[at].audit = PS_AUDIT_WANTED;
    if (status == SL_OK && c->options.config->modulation.exchange == SL_EXCHANGE_EARLY)
        begin_early(c, &c->steps[at]);
    if (status == SL_OK)
        c->next_step++;
    return status;
}

/* ---- assignment ---- */

static enum sl_status assign_run(struct ps_coordinator *c, int w, int at, enum sl_phase phase, uint32_t begin,
        uint32_t end, struct sl_error *err)
{
    struct ps_open_step *step = &c->steps[at];
    struct ps_worker *worker = &c->roster.workers[w];
    struct sl_message *m = ps_coordinator_message_to_send(c, SL_MESSAGE_ASSIGN);
    if (m != NULL) {
        m->phase = phase;
        m->step = step->step;
        m->version = step->base;
        m->slots = step->units;
        m->begin = begin;
        m->end = end;
        m->hash = phase == SL_PHASE_AUDIT || (step->audit == PS_AUDIT_WANTED && phase != SL_PHASE_SCORE);
        memcpy(m->coefficient, step->coefficient, sizeof(m->coefficient));
        if (c->options.config->modulation.exchange == SL_EXCHANGE_EARLY && step->phase == SL_PHASE_TRAIN &&
                !step->scoring && sl_mutant("coordinator: coefficients are those of the moment"))
            ps_modulation_expect(&c->ordered_modulation, &c->modulation, c->ordered,
                    c->options.config->modality_count, m->coefficient);
    }
    worker->run = (struct ps_run){.at = at,
            .phase = phase,
            .begin = begin,
            .end = end,
            .left = end - begin,
            .assigned_us = c->now_us,
            .shadow = -1};
    for (uint32_t u = begin; u < end && phase != SL_PHASE_AUDIT; u++) {
        step->todo -= step->owner[u] == PS_UNIT_TODO;
        if (step->owner[u] == PS_UNIT_TODO)
            step->owner[u] = w; /* a shadow leaves it with the one that it shadows */
    }
    return ps_coordinator_send_worker(c, worker->id, m, err);
}

/* The oldest open step that has units nobody has, or -1. Validation is the only one while it is open. */
static int oldest_with_work(const struct ps_coordinator *c)
{
    int oldest = -1;
    if (c->state == STATE_VALIDATING)
        return c->steps[PS_VALIDATION].todo > 0 ? PS_VALIDATION : -1;
    for (int i = 0; i < c->open_max; i++)
        if (c->steps[i].open && c->steps[i].todo > 0 &&
                (oldest < 0 || c->steps[i].step < c->steps[oldest].step))
            oldest = i;
    return oldest;
}

/* Whether a worker has the data of all units [begin, end). */
static bool can_compute(
        const struct ps_coordinator *c, int w, const struct ps_open_step *step, uint32_t begin, uint32_t end)
{
    for (uint32_t u = begin; u < end; u++)
        if (!ps_open_step_readable(step, u, c->roster.workers[w].readable))
            return false;
    return true;
}

static int find_idle(const struct ps_coordinator *c, int from)
{
    for (int w = from; w < c->roster.worker_end; w++)
        if (ps_assign_idle(&c->roster.workers[w]))
            return w;
    return -1;
}

/* Whoever scored units trains them: it may have their activations. */
static enum sl_status give_back_scored(struct ps_coordinator *c, int at, bool *ret_any, struct sl_error *err)
{
    struct ps_open_step *step = &c->steps[at];
    for (int w = find_idle(c, 0); w >= 0 && step->todo > 0; w = find_idle(c, w + 1)) {
        uint32_t begin = 0, end = 0;
        if (!ps_open_step_own_stretch(step, c->roster.workers[w].id, &begin, &end))
            continue;
        enum sl_status status = assign_run(c, w, at, SL_PHASE_TRAIN, begin, end, err);
        if (status != SL_OK)
            return status;
        *ret_any = true;
    }
    return SL_OK;
}

/* Shares a step's free units out. *ret_any: somebody got something. */
static enum sl_status share_out(struct ps_coordinator *c, int at, bool *ret_any, struct sl_error *err)
{
    struct ps_open_step *step = &c->steps[at];
    bool among_idle = step->phase == SL_PHASE_VALIDATE || c->open_max == 1;
    enum sl_phase phase = step->scoring ? SL_PHASE_SCORE : step->phase;
    *ret_any = false;
    if (step->scored) {
        enum sl_status status = give_back_scored(c, at, ret_any, err);
        if (status != SL_OK)
            return status;
    }
    for (int w = find_idle(c, 0); w >= 0 && step->todo > 0; w = find_idle(c, w + 1)) {
        uint32_t begin = 0, end = 0;
        if (!ps_assign_share(&c->roster, step, w, among_idle, &begin, &end))
            continue;
        enum sl_status status = assign_run(c, w, at, phase, begin, end, err);
        if (status != SL_OK)
            return status;
        *ret_any = true;
    }
    return SL_OK;
}

/* An idle worker, not `except`, that can compute units [begin, end), or -1. *ret_hope: somebody could, if busy now. */
static int find_auditor(const struct ps_coordinator *c, const struct ps_open_step *step, uint32_t begin,
        uint32_t end, bool *ret_hope)
{
    *ret_hope = false;
    for (int w = 0; w < c->roster.worker_end; w++) {
        const struct ps_worker *worker = &c->roster.workers[w];
        if (!worker->present || worker->id == step->audit_first || !can_compute(c, w, step, begin, end))
            continue;
        *ret_hope = true;
        if (ps_assign_idle(worker))
            return w;
    }
    return -1;
}

/* A node that was computed is given to another worker, to be compared. With nobody else there it passes. */
static enum sl_status assign_audits(struct ps_coordinator *c, struct sl_error *err)
{
    for (int i = 0; i < c->open_max; i++) {
        struct ps_open_step *step = &c->steps[i];
        if (!step->open || step->audit != PS_AUDIT_OPEN)
            continue;
        uint32_t begin = sl_tree_begin(step->audit_node), end = sl_tree_end(step->units, step->audit_node);
        bool hope = false;
        int w = find_auditor(c, step, begin, end, &hope);
        if (!hope)
            step->audit = PS_AUDIT_CLOSED;
        if (w < 0)
            continue;
        step->audit = PS_AUDIT_ASSIGNED;
        enum sl_status status = assign_run(c, w, i, SL_PHASE_AUDIT, begin, end, err);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

/* Whether no worker that is here has the data of a unit. */
static bool is_orphaned(const struct ps_coordinator *c, const struct ps_open_step *step, uint32_t unit)
{
    if (step->owner[unit] != PS_UNIT_TODO)
        return false;
    for (int w = 0; w < c->roster.worker_end; w++)
        if (c->roster.workers[w].present && can_compute(c, w, step, unit, unit + 1))
            return false;
    return true;
}

/* Units whose shard no living worker has: training waits for one that does, and says so; or goes on without them, when the config allows that. */
static enum sl_status see_to_orphans(struct ps_coordinator *c, struct sl_error *err)
{
    int at = c->shard_count > 0 && c->state == STATE_TRAINING ? oldest_with_work(c) : -1;
    if (at < 0 || c->roster.worker_count == 0)
        return SL_OK;
    struct ps_open_step *step = &c->steps[at];
    uint32_t begin = 0;
    while (begin < step->units && !is_orphaned(c, step, begin))
        begin++;
    uint32_t end = begin;
    while (end < step->units && is_orphaned(c, step, end))
        end++;
    int w = find_idle(c, 0);
    if (begin == end) {
        c->told_missing = false;
        return SL_OK;
    }
    if (!c->told_missing)
        ps_coordinator_add_note(c, PS_ACTION_WARN, "no living worker has shard-%05d: %s", step->shard[begin],
                c->options.config->dataset.missing == SL_MISSING_SKIP
                        ? "its samples are skipped (dataset.missing)"
                        : "training waits for one that has it");
    c->told_missing = true;
    if (c->options.config->dataset.missing == SL_MISSING_WAIT || w < 0)
        return SL_OK;
    return assign_run(c, w, at, SL_PHASE_SKIP, begin, end, err);
}

bool ps_coordinator_drop_overdue_audits(struct ps_coordinator *c)
{
    bool any = false;
    for (int w = 0; w < c->roster.worker_end; w++) {
        struct ps_worker *worker = &c->roster.workers[w];
        if (!worker->present || ps_assign_idle(worker) || worker->run.phase != SL_PHASE_AUDIT ||
                !ps_assign_overdue(&c->roster, w, c->now_us, c->options.config->cluster.straggler,
                        2000 * c->options.config->cluster.heartbeat_ms))
            continue;
        ps_coordinator_add_note(c, PS_ACTION_WARN, "%s is slow with an audit of step %" PRId64 ": given up",
                worker->name, c->steps[worker->run.at].step);
        c->steps[worker->run.at].audit = PS_AUDIT_CLOSED;
        worker->run = (struct ps_run){.at = -1, .shadow = -1};
        any = true;
    }
    return any;
}

enum sl_status ps_coordinator_shadow_stragglers(struct ps_coordinator *c, struct sl_error *err)
{
    const struct sl_config *config = c->options.config;
    for (int x = find_idle(c, 0); x >= 0; x = find_idle(c, x + 1)) {
        int w = ps_assign_straggler(
                &c->roster, c->now_us, config->cluster.straggler, 2000 * config->cluster.heartbeat_ms);
        if (w < 0)
            return SL_OK;
        struct ps_run *run = &c->roster.workers[w].run;
        uint32_t begin = 0, end = 0;
        if (!ps_assign_rest(&c->steps[run->at], run, &begin, &end) ||
                (run->phase != SL_PHASE_SKIP && !can_compute(c, x, &c->steps[run->at], begin, end)))
            continue;
        run->shadow = x;
        ps_coordinator_add_note(c, PS_ACTION_WARN,
                "%s is slow with its part of step %" PRId64 ": %s computes it too", c->roster.workers[w].name,
                c->steps[run->at].step, c->roster.workers[x].name);
        enum sl_status status = assign_run(c, x, run->at, run->phase, begin, end, err);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

enum sl_status ps_coordinator_assign_work(struct ps_coordinator *c, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    bool any = true;
    if (c->state != STATE_TRAINING && c->state != STATE_VALIDATING)
        return SL_OK;
    while (any && status == SL_OK && find_idle(c, 0) >= 0) {
        int at = oldest_with_work(c);
        if (at >= 0)
            status = share_out(c, at, &any, err);
        else if (may_open(c))
            status = open_next_step(c, err);
        else
            any = false;
    }
    if (status == SL_OK && c->state == STATE_TRAINING)
        status = assign_audits(c, err);
    return status == SL_OK ? see_to_orphans(c, err) : status;
}

/* Everybody who has one of the units in its run has less left: its owner, its shadow, the shadow of that. */
static void shorten_runs(
        struct ps_coordinator *c, const struct ps_open_step *step, uint32_t begin, uint32_t end)
{
    for (int w = 0; w < c->roster.worker_end; w++) {
        struct ps_run *run = &c->roster.workers[w].run;
        if (!c->roster.workers[w].present || run->at < 0 || &c->steps[run->at] != step ||
                run->phase == SL_PHASE_AUDIT)
            continue;
        for (uint32_t u = begin > run->begin ? begin : run->begin; u < end && u < run->end; u++)
            run->left -= step->owner[u] != PS_UNIT_DONE;
    }
}

uint32_t ps_coordinator_close_units(
        struct ps_coordinator *c, struct ps_open_step *step, uint32_t begin, uint32_t end)
{
    uint32_t fresh = 0;
    shorten_runs(c, step, begin, end);
    for (uint32_t u = begin; u < end; u++) {
        fresh += step->owner[u] != PS_UNIT_DONE;
        step->todo -= step->owner[u] == PS_UNIT_TODO;
        step->owner[u] = PS_UNIT_DONE;
    }
    step->done += fresh;
    return fresh;
}

/* It computes nobody else's units any more. */
static void unshadow(struct ps_coordinator *c, int w)
{
    for (int x = 0; x < c->roster.worker_end; x++)
        if (c->roster.workers[x].run.shadow == w)
            c->roster.workers[x].run.shadow = -1;
}

/* Whoever is through with its run is measured by it, also when it was overtaken: then it is at least so slow. A unit of validation or a slot's scores are less work than a
 * slot: they only count when nothing better is known. */
static void learn_speeds(struct ps_coordinator *c, int w)
{
    struct ps_run *run = &c->roster.workers[w].run;
    if (run->at >= 0 && run->left == 0) {
        if (run->phase == SL_PHASE_TRAIN ||
                ((run->phase == SL_PHASE_VALIDATE || run->phase == SL_PHASE_SCORE) &&
                        c->roster.workers[w].seconds_per_slot <= 0.0))
            ps_assign_learn(&c->roster, w, c->now_us);
        if (run->phase == SL_PHASE_SCORE)
            ps_assign_learn_scoring(&c->roster, w, c->now_us);
        run->at = -1;
        run->shadow = -1;
        unshadow(c, w);
    }
}

void ps_coordinator_learn_all_speeds(struct ps_coordinator *c)
{
    for (int w = 0; w < c->roster.worker_end; w++)
        if (c->roster.workers[w].present)
            learn_speeds(c, w);
}

void ps_coordinator_free_units(struct ps_coordinator *c, int w)
{
    struct ps_run *run = &c->roster.workers[w].run;
    unshadow(c, w);
    if (run->at < 0 || sl_mutant("coordinator: the slots of a lost worker stay its own"))
        return;
    struct ps_open_step *step = &c->steps[run->at];
    if (run->phase == SL_PHASE_AUDIT) {
        if (step->open && step->audit == PS_AUDIT_ASSIGNED && run->left > 0)
            step->audit = PS_AUDIT_OPEN;
        return;
    }
    const struct ps_run *shadow = run->shadow >= 0 ? &c->roster.workers[run->shadow].run : NULL;
    for (uint32_t u = run->begin; step->open && u < run->end; u++) {
        if (step->owner[u] != w)
            continue;
        bool shadowed = shadow != NULL && u >= shadow->begin && u < shadow->end;
        step->owner[u] = shadowed ? run->shadow : PS_UNIT_TODO;
        step->todo += !shadowed;
    }
    run->at = -1;
}

void ps_coordinator_abandon(struct ps_coordinator *c, int at)
{
    c->steps[at].open = false;
    for (int w = 0; w < c->roster.worker_end; w++)
        if (c->roster.workers[w].present && c->roster.workers[w].run.at == at)
            c->roster.workers[w].run = (struct ps_run){.at = -1, .shadow = -1};
}
