/* A step's results: statistics and reductions come in, the step is committed, the new version stands. */
#include "ps/coordinator_parts.h"

#include "common/mutant.h"

#include "ps/schedule.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- a training step ---- */

static void record_losses(struct ps_coordinator *c, struct ps_open_step *step)
{
    const struct sl_step_stats *sum = ps_open_step_total(step);
    struct ps_step_record *r = &step->record;
    int modalities = c->options.config->modality_count;
    *r = (struct ps_step_record){
            .step = c->ordered + 1, .epoch = c->ordered / c->steps_per_epoch, .samples = sum->count};
    for (int b = 0; b <= modalities; b++) {
        r->loss[b] = sum->loss[b] / sum->weight_sum;
        r->accuracy[b] = (double)sum->correct[b] / sum->count;
    }
    for (int m = 0; m < modalities; m++)
        r->score[m] = sum->score[m] / sum->count;
    r->seconds = (double)(c->now_us - step->opened_us) * 1e-6;
    r->compute_seconds = (double)step->compute_us * 1e-6;
    r->workers = c->roster.worker_count;
    memcpy(r->spent, step->spent, sizeof(r->spent));
}

/* The global norm of the unmodulated gradient (with exchange early: of what was pushed) from per-block sums in block order, and the angle between the two branches of each extractor. Shapes:
 * ret_angles (modality_count,). */
static void record_gradients(struct ps_coordinator *c, struct ps_open_step *step, struct ps_angle *ret_angles)
{
    struct ps_step_record *r = &step->record;
    const struct sl_layout *layout = c->options.layout;
    double norm2 = 0.0;
    for (int m = 0; m < layout->modality_count; m++)
        ret_angles[m] = (struct ps_angle){0};
    for (int b = 0; b < layout->block_count; b++) {
        norm2 += step->sums[b].norm2;
        if (layout->blocks[b].part != SL_PART_EXTRACTOR)
            continue;
        struct ps_angle *angle = &ret_angles[layout->blocks[b].modality];
        angle->dot += step->sums[b].dot;
        angle->unimodal2 += step->sums[b].unimodal2;
        angle->fused2 += step->sums[b].fused2;
    }
    r->norm = sqrt(norm2) / ps_open_step_total(step)->weight_sum;
    for (int m = 0; m < layout->modality_count; m++)
        r->cosine[m] = ret_angles[m].dot / sqrt(ret_angles[m].unimodal2 * ret_angles[m].fused2);
}

/* The norm that clipping goes by. That of the modulated sum follows from the same sums: ‖k u + l f‖² = k² ‖u‖² + 2 k l u·f + l² ‖f‖². */
static double norm_to_clip(
        const struct ps_coordinator *c, const struct ps_open_step *step, const struct sl_commit *numbers)
{
    const struct sl_layout *layout = c->options.layout;
    double norm2 = 0.0;
    if (c->optimiser.clip_by == SL_CLIP_BY_UNMODULATED)
        return step->record.norm;
    for (int b = 0; b < layout->block_count; b++) {
        const struct sl_block_sums *sums = &step->sums[b];
        bool extractor = layout->blocks[b].part == SL_PART_EXTRACTOR;
        double k = extractor ? numbers->coefficient[layout->blocks[b].modality] : 1.0,
               l = extractor ? numbers->fused[layout->blocks[b].modality] : 1.0;
        norm2 += k * k * sums->unimodal2 + 2.0 * k * l * sums->dot + l * l * sums->fused2;
    }
    return sqrt(norm2 > 0.0 ? norm2 : 0.0) / ps_open_step_total(step)->weight_sum;
}

void ps_coordinator_set_coefficients(
        const struct ps_coordinator *c, struct ps_open_step *step, const double *from_ratios)
{
    struct ps_angle angles[SL_MODALITIES_MAX] = {
            {0}}; /* form pareto alone reads them, which exchange early has not */
    struct sl_commit numbers;
    double k[SL_MODALITIES_MAX];
    memcpy(k, from_ratios, sizeof(k));
    ps_balance_factors(&c->modulation, c->ordered, c->options.config->modality_count, angles,
            c->options.replay, k, &numbers);
    memcpy(step->coefficient, numbers.coefficient, sizeof(step->coefficient));
}

/* Exchange early: all scores of the step are in, so its coefficients are decided, and its slots can be trained. The means move on when it is committed: it may be given up before. */
static enum sl_status decide_coefficients(
        struct ps_coordinator *c, struct ps_open_step *step, struct sl_error *err)
{
    struct ps_modulation after = c->ordered_modulation;
    struct sl_error problem = {0};
    double ratio[SL_MODALITIES_MAX], k[SL_MODALITIES_MAX] = {0};
    if (ps_modulation_step(&after, &c->modulation, c->ordered, ps_open_step_total(step)->score,
                c->options.config->modality_count, ratio, k, &problem) != SL_OK)
        return ps_coordinator_begin_finish(c, SL_DIVERGED, problem.text, err);
    ps_coordinator_set_coefficients(c, step, k);
    ps_open_step_train(step);
    return SL_OK;
}

/* Norms by branch, from per-block sums in block order. */
static void record_changes(struct ps_coordinator *c, struct ps_open_step *step)
{
    const struct sl_layout *layout = c->options.layout;
    struct ps_step_record *r = &step->record;
    struct sl_block_change of[SL_BRANCHES_MAX] = {{0}};
    for (int b = 0; b < layout->block_count; b++) {
        int branch = layout->blocks[b].part == SL_PART_FUSION ? layout->modality_count
                                                              : layout->blocks[b].modality;
        of[branch].update2 += step->changes[b].update2;
        of[branch].params2 += step->changes[b].params2;
    }
    for (int branch = 0; branch <= layout->modality_count; branch++) {
        r->update_norm[branch] = sqrt(of[branch].update2);
        r->parameter_norm[branch] = sqrt(of[branch].params2);
    }
}

/* Scores → ratios → coefficients → factors, norm → clip factor; then COMMIT to all servers: the next version. */
static enum sl_status commit(struct ps_coordinator *c, struct ps_open_step *step, struct sl_error *err)
{
    const struct sl_step_stats *sum = ps_open_step_total(step);
    struct ps_step_record *r = &step->record;
    struct sl_error problem = {0};
    struct ps_angle angles[SL_MODALITIES_MAX];
    int modalities = c->options.config->modality_count;
    if (sum->count == 0)
        return ps_coordinator_begin_finish(c, SL_BAD_DATA,
                "no living worker has any of the shards of a whole step: start one that has", err);
    record_losses(c, step);
    record_gradients(c, step, angles);
    if (!isfinite(r->loss[modalities]) || !isfinite(r->norm) || !(sum->weight_sum > 0.0))
        return ps_coordinator_begin_finish(c, SL_DIVERGED,
                "the loss or the gradient's norm is not finite: lower optimiser.lr or add "
                "optimiser.warmup_steps",
                err);
    if (ps_modulation_step(&c->ordered_modulation, &c->modulation, c->ordered, sum->score, modalities,
                r->ratio, r->coefficient, &problem) != SL_OK)
        return ps_coordinator_begin_finish(c, SL_DIVERGED, problem.text, err);
    struct sl_commit numbers = {
            .inverse_weight = 1.0 / sum->weight_sum,
    };
    ps_balance_factors(
            &c->modulation, c->ordered, modalities, angles, c->options.replay, r->coefficient, &numbers);
    for (int b = 0; c->modulation.statistics == SL_STATISTICS_SLOT && b < modalities; b++)
        r->coefficient[b] = sum->coefficient[b] / sum->count; /* what the slots were modulated with */
    if (c->options.config->modulation.exchange == SL_EXCHANGE_EARLY) { /* what was computed with */
        memcpy(numbers.coefficient, step->coefficient, sizeof(numbers.coefficient));
        memcpy(r->coefficient, step->coefficient, sizeof(r->coefficient));
    }
    numbers.clip = r->clip = ps_optimiser_clip(&c->optimiser, norm_to_clip(c, step, &numbers));
    struct ps_schedule schedule = ps_schedule_from_config(c->options.config, c->total_steps);
    numbers.rate = r->rate = ps_schedule_rate(&schedule, c->ordered);
    step->committing = true;
    step->version = ++c->ordered;
    for (int s = 0; s < c->roster.server_count; s++)
        c->roster.servers[s].commit_us = c->now_us;
    struct sl_message *m = ps_coordinator_message_to_send(c, SL_MESSAGE_COMMIT);
    if (m != NULL) {
        m->step = step->step;
        m->version = step->version;
        m->commit = numbers;
    }
    return ps_coordinator_send_servers(c, m, err);
}

static bool is_whole(const struct ps_open_step *step)
{
    return !step->scoring && step->done == step->units && step->audit != PS_AUDIT_OPEN &&
           step->audit != PS_AUDIT_ASSIGNED;
}

static bool is_older(const struct ps_open_step *a, const struct ps_open_step *b)
{
    return a->base < b->base || (a->base == b->base && a->step < b->step);
}

/* Whether a step may be applied now, so that every older open one still can be within the bound: with the older ones in order, number i of them is
 * applied at version `ordered` + 1 + i at the earliest. Steps are opened only while fewer than staleness + 1 are open, so the oldest always may. */
static bool within_staleness(const struct ps_coordinator *c, const struct ps_open_step *step)
{
    if (c->options.config->consistency.mode == SL_CONSISTENCY_ASP)
        return true;
    int64_t bound = c->options.config->consistency.mode == SL_CONSISTENCY_SSP
                            ? c->options.config->consistency.staleness
                            : 0;
    bound += sl_mutant("coordinator: the staleness bound is off by one");
    for (int i = 0; i < c->open_max; i++) {
        const struct ps_open_step *y = &c->steps[i];
        if (!y->open || y->committing || y == step || !is_older(y, step))
            continue;
        int64_t before = 0; /* open steps older than y */
        for (int j = 0; j < c->open_max; j++)
            before += c->steps[j].open && !c->steps[j].committing && is_older(&c->steps[j], y);
        if (c->ordered + 1 + before - y->base > bound)
            return false;
    }
    return true;
}

enum sl_status ps_coordinator_commit_whole_steps(struct ps_coordinator *c, struct sl_error *err)
{
    while (c->state == STATE_TRAINING) {
        struct ps_open_step *next = NULL;
        for (int i = 0; i < c->open_max; i++) {
            struct ps_open_step *step = &c->steps[i];
            if (step->open && !step->committing && is_whole(step) &&
                    (step->reduced_count == c->reducing_servers ||
                            (step->reduced_count > 0 &&
                                    sl_mutant("coordinator: commits without all servers"))) &&
                    within_staleness(c, step) && (next == NULL || is_older(step, next)))
                next = step;
        }
        if (next == NULL)
            return SL_OK;
        enum sl_status status = commit(c, next, err);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

static int find_step(const struct ps_coordinator *c, int64_t step)
{
    for (int i = 0; i < c->open_max; i++)
        if (c->steps[i].open && c->steps[i].step == step)
            return i;
    return -1;
}

/* The hash of a node that was computed twice: of all slots of the auditor's run, so that nothing of it is left. At the right edge several nodes cover the same slots, with the same sums. */
static void compare_audit(struct ps_coordinator *c, struct ps_open_step *step, struct ps_worker *worker,
        const struct sl_message *m)
{
    if (step->audit != PS_AUDIT_ASSIGNED || sl_tree_begin(m->node) != worker->run.begin ||
            sl_tree_end(step->units, m->node) != worker->run.end)
        return;
    worker->run.left = 0;
    step->audit = PS_AUDIT_CLOSED;
    if (m->hash != step->audit_hash)
        ps_coordinator_add_note(c, PS_ACTION_WARN,
                "audit: %s and %s computed slots [%u, %u) of step %" PRId64
                " differently: one of the two machines computes wrongly, or their CPUs differ",
                step->audit_name, worker->name, sl_tree_begin(m->node), sl_tree_end(step->units, m->node),
                step->step);
}

static void begin_audit(struct ps_open_step *step, const struct ps_worker *worker, const struct sl_message *m)
{
    if (step->audit != PS_AUDIT_WANTED || m->phase != SL_PHASE_TRAIN || m->hash == 0)
        return;
    step->audit = PS_AUDIT_OPEN;
    step->audit_node = m->node;
    step->audit_hash = m->hash;
    step->audit_first = worker->id;
    (void)snprintf(step->audit_name, sizeof(step->audit_name), "%.*s", 79, worker->name);
}

static void note_spent(
        struct ps_open_step *step, const struct ps_worker *worker, const struct sl_spent *spent)
{
    double threads = worker->threads > 0 ? worker->threads : 1;
    for (int i = 0; i < SL_SPENT_COUNT; i++)
        step->spent[i] += (double)spent->us[i] * 1e-6 / (i < SL_SPENT_THREADS ? threads : 1.0);
}

/* A node of the worker's run. Where units are scored first (exchange early in bsp), what the scores join to decides the coefficients, and is joined anew from the pushes: a unit that is
 * skipped after it was scored has no part in the step. */
static void take_results(struct ps_coordinator *c, struct ps_open_step *step, struct ps_worker *worker,
        const struct sl_message *m)
{
    uint32_t begin = sl_tree_begin(m->node), end = sl_tree_end(step->units, m->node);
    if (step->scoring)
        ps_open_step_note_scored(step, begin, end, worker->id, m->phase == SL_PHASE_SKIP);
    if (ps_coordinator_close_units(c, step, begin, end) == 0)
        return;
    step->compute_us += m->compute_us;
    if (m->phase != SL_PHASE_SCORE)
        worker->slots += end - begin;
    ps_open_step_join(step, m->node, &m->stats);
    begin_audit(step, worker, m);
}

enum sl_status ps_coordinator_on_stats(
        struct ps_coordinator *c, int w, const struct sl_message *m, struct sl_error *err)
{
    struct ps_worker *worker = &c->roster.workers[w];
    int at = c->state == STATE_TRAINING ? find_step(c, m->step) : -1;
    if (at < 0 && c->state == STATE_TRAINING &&
            sl_mutant("coordinator: late statistics count for the next step"))
        at = worker->run.at;
    if (at < 0 || worker->run.at != at || worker->run.phase != m->phase || m->slots != c->steps[at].units ||
            (m->version < c->steps[at].base &&
                    !sl_mutant("coordinator: late statistics count for the next step")))
        return SL_OK;
    struct ps_open_step *step = &c->steps[at];
    uint32_t begin = sl_tree_begin(m->node), end = sl_tree_end(step->units, m->node);
    if (begin < worker->run.begin || end > worker->run.end)
        return SL_OK;
    if (m->stats.count !=
            (m->phase == SL_PHASE_SKIP ? 0 : ps_coordinator_samples_of_units(c, step, begin, end)))
        return ps_coordinator_expel_worker(
                c, w, "its statistics are over another number of samples than its slots have", err);
    worker->version = m->version;
    note_spent(step, worker, &m->spent);
    if (m->phase == SL_PHASE_AUDIT)
        compare_audit(c, step, worker, m);
    else
        take_results(c, step, worker, m);
    ps_coordinator_learn_all_speeds(c);
    enum sl_status status = SL_OK;
    if (step->scoring && (step->done == step->units ||
                                 sl_mutant("coordinator: coefficients are decided before all scores are in")))
        status = decide_coefficients(c, step, err);
    if (status == SL_OK)
        status = ps_coordinator_assign_work(c, err);
    return status == SL_OK ? ps_coordinator_commit_whole_steps(c, err) : status;
}

/* Puts what a server says of its own blocks, in their order, into an array over all. Shapes: ret_all (block_count,) of `each` bytes. False: it is over other blocks. */
static bool spread(
        const struct ps_coordinator *c, int rank, const struct sl_message *m, void *ret_all, size_t each)
{
    const char *bytes = m->frames[0].data;
    size_t count = 0;
    for (int b = 0; b < c->options.layout->block_count; b++)
        count += c->owners[b] == rank;
    if (m->frames[0].size != count * each)
        return false;
    for (int b = 0; b < c->options.layout->block_count; b++) {
        if (c->owners[b] != rank)
            continue;
        memcpy((char *)ret_all + (size_t)b * each, bytes, each);
        bytes += each;
    }
    return true;
}

bool ps_coordinator_reduces(const struct ps_coordinator *c, int rank)
{
    for (int b = 0; b < c->options.layout->block_count; b++)
        if (c->owners[b] == rank && !c->options.layout->blocks[b].frozen)
            return true;
    return false;
}

enum sl_status ps_coordinator_on_reduced(
        struct ps_coordinator *c, int rank, const struct sl_message *m, struct sl_error *err)
{
    int at = c->state == STATE_TRAINING ? find_step(c, m->step) : -1;
    if (at < 0 || c->steps[at].reduced[rank] || !ps_coordinator_reduces(c, rank))
        return SL_OK;
    if (m->text[0] != 0)
        return ps_coordinator_begin_finish(c, SL_DIVERGED, m->text, err);
    if (!spread(c, rank, m, c->steps[at].sums, sizeof(struct sl_block_sums)))
        return ps_coordinator_lose_server(c, rank, "its sums are over other blocks than it has", err);
    c->steps[at].reduced[rank] = 1;
    c->steps[at].reduced_count++;
    return ps_coordinator_commit_whole_steps(c, err);
}

enum sl_status ps_coordinator_on_applied(
        struct ps_coordinator *c, int rank, const struct sl_message *m, struct sl_error *err)
{
    struct ps_server_member *server = &c->roster.servers[rank];
    int at = find_step(c, m->step);
    if (at < 0 || !c->steps[at].committing || c->steps[at].version != m->version ||
            m->version != server->version + 1)
        return SL_OK;
    struct ps_open_step *step = &c->steps[at];
    if (!spread(c, rank, m, step->changes, sizeof(struct sl_block_change)))
        return ps_coordinator_lose_server(c, rank, "its changes are of other blocks than it has", err);
    step->applied[rank] = 1;
    server->version = m->version;
    server->update_seconds = (double)(c->now_us - server->commit_us) * 1e-6;
    step->record.update_seconds = server->update_seconds; /* the last one's stays */
    if (++step->applied_count < c->roster.server_count)
        return SL_OK;
    assert(step->version == c->training.step + 1); /* no server's versions leave one out */
    step->open = false;
    c->training.step++;
    if (c->training.step == c->ordered)
        c->training.modulation = c->ordered_modulation;
    record_changes(c, step);
    ps_coordinator_add_action(c, PS_ACTION_STEP)->record = step->record;
    return ps_coordinator_proceed(c, err);
}
