/* The promises: see check.h. */
#include "tests/simulation/check.h"

#include "common/memory.h"
#include "tests/simulation/world.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- lineages ---- */

static struct sim_lineage *find_lineage(struct sim_world *w, uint64_t mark)
{
    for (int i = w->check.lineage_count - 1; i >= 0; i--)
        if (w->check.lineages[i].mark == mark)
            return &w->check.lineages[i];
    return NULL;
}

static size_t place(const struct sim_world *w, int64_t version, int block)
{
    return (size_t)version * (size_t)w->model->layout->block_count + (size_t)block;
}

static void note_shadow(struct sim_world *w, struct sim_lineage *l, int block)
{
    struct ps_block_state state = ps_table_capture(l->shadow, block);
    l->params_hash[place(w, l->version, block)] = sim_hash_params(w->model, block, state.params->data);
    l->state_hash[place(w, l->version, block)] = sim_hash_state(w->model, block, &state);
    ps_block_state_fini(&state);
}

static void begin_lineage(struct sim_world *w, uint64_t mark, int64_t version)
{
    struct sim_check *check = &w->check;
    check->lineages = sl_realloc(check->lineages, (size_t)check->lineage_count + 1, sizeof(*check->lineages));
    assert(check->lineages != NULL);
    struct sim_lineage *l = &check->lineages[check->lineage_count++];
    const struct sim_model *model = w->model;
    size_t places = (size_t)(model->total_steps + 1) * (size_t)model->layout->block_count;
    *l = (struct sim_lineage){.mark = mark, .begin = version, .version = version};
    l->updates = sl_alloc((size_t)model->total_steps, sizeof(*l->updates));
    l->stepped = sl_alloc((size_t)model->total_steps, sizeof(*l->stepped));
    l->coefficients = sl_alloc((size_t)model->total_steps, sizeof(*l->coefficients));
    l->params_hash = sl_alloc(places, sizeof(uint64_t));
    l->state_hash = sl_alloc(places, sizeof(uint64_t));
    assert(l->coefficients != NULL && l->updates != NULL && l->stepped != NULL && l->params_hash != NULL &&
            l->state_hash != NULL);
    for (int64_t step = 0; step < version; step++)
        l->stepped[step] = true;
    bool known = model->known && !model->whole_numbers;
    if (known) {
        memcpy(l->params_hash, model->params_hash, places * sizeof(uint64_t));
        memcpy(l->state_hash, model->state_hash, places * sizeof(uint64_t));
    }
    if (!model->whole_numbers)
        return;
    struct ps_optimiser optimiser = ps_optimiser_from_config(&w->config);
    struct sl_error err = {0};
    if (ps_table_create(&l->shadow, model->layout, &optimiser, NULL, 0, &err) != SL_OK)
        sim_fail(w, "table: %s", err.text);
}

/* Where a lineage begins, it must be what an earlier one had there: what was saved is what is loaded. */
static void check_origin(
        struct sim_world *w, const struct sim_lineage *l, int block, const struct ps_block_state *state)
{
    for (int i = w->check.lineage_count - 1; i >= 0; i--) {
        const struct sim_lineage *old = &w->check.lineages[i];
        if (old == l || old->mark == l->mark || l->version <= old->begin || l->version > old->version)
            continue;
        if (old->state_hash[place(w, l->version, block)] == sim_hash_state(w->model, block, state))
            return;
    }
    if (l->version > 0)
        sim_fail(w, "block %d is loaded at version %" PRId64 " with bits that no earlier run had there",
                block, l->version);
}

void sim_check_load(struct sim_world *w, uint64_t mark, const struct sl_message *load)
{
    struct sim_lineage *l = find_lineage(w, mark);
    const struct sim_model *model = w->model;
    int block = (int)load->block;
    struct sl_error err = {0};
    if (l == NULL) {
        begin_lineage(w, mark, load->version);
        l = find_lineage(w, mark);
    }
    if (l->begin != load->version || l->version != load->version) {
        sim_fail(w,
                "block %d is loaded at version %" PRId64 " into a run that began at %" PRId64
                " and stands at %" PRId64,
                block, load->version, l->begin, l->version);
        return;
    }
    if (model->known && !model->whole_numbers) {
        if (sim_hash_params(model, block, load->frames[0].data) !=
                l->params_hash[place(w, l->version, block)])
            sim_fail(w, "block %d is loaded with wrong bits at version %" PRId64, block, l->version);
        return;
    }
    if (l->shadow == NULL) { /* the quiet run that the reference is made of */
        l->params_hash[place(w, l->version, block)] = sim_hash_params(model, block, load->frames[0].data);
        return;
    }
    /* copies: nobody else writes the shadow */
    struct sl_message *copy = sl_message_create(SL_MESSAGE_LOAD);
    assert(copy != NULL);
    for (int f = 0; f < load->frame_count; f++) {
        struct sl_buffer *buffer = sl_buffer_create(load->frames[f].size);
        assert(buffer != NULL);
        memcpy(buffer->data, load->frames[f].data, load->frames[f].size);
        sl_message_add_frame(copy, buffer, buffer->data, buffer->size);
        sl_buffer_release(buffer);
    }
    if (ps_table_put(l->shadow, block, &copy->frames[0], copy->frame_count > 1 ? &copy->frames[1] : NULL,
                copy->frame_count > 2 ? &copy->frames[2] : NULL, load->version, &err) != SL_OK)
        sim_fail(w, "table: %s", err.text);
    sl_message_destroy(copy);
    note_shadow(w, l, block);
    struct ps_block_state state = ps_table_capture(l->shadow, block);
    check_origin(w, l, block, &state);
    ps_block_state_fini(&state);
}

/* ---- the coordinator's messages ---- */

static bool same_commit(const struct sl_commit *a, const struct sl_commit *b)
{
    return a->inverse_weight == b->inverse_weight && a->clip == b->clip && a->rate == b->rate &&
           memcmp(a->coefficient, b->coefficient, sizeof(a->coefficient)) == 0 &&
           memcmp(a->fused, b->fused, sizeof(a->fused)) == 0 &&
           memcmp(a->update, b->update, sizeof(a->update)) == 0;
}

/* The whole step's gradient, in whole numbers, onto the shadow. */
static void update_shadow(struct sim_world *w, struct sim_lineage *l, const struct sl_message *commit)
{
    const struct sl_layout *layout = w->model->layout;
    SL_AUTO_FREE float *grads = sl_alloc_aligned(sl_layout_gradient_floats(layout), sizeof(float));
    assert(grads != NULL);
    struct sl_step_stats stats;
    sim_model_node(w->model, w->model->initial, commit->step,
            sl_tree_root(sim_model_slots(w->model, commit->step)), commit->commit.coefficient, grads, &stats);
    for (int b = 0; b < layout->block_count; b++) {
        const struct sl_block *block = &layout->blocks[b];
        struct sl_error err = {0};
        const float *tags[SL_TAGS];
        for (int tag = 0; tag < SL_TAGS; tag++)
            tags[tag] = block->tagged[tag] ? grads + sl_layout_gradient_at(layout, tag, block->offset) : NULL;
        if (ps_table_apply(l->shadow, b, l->version, &commit->commit, tags, &err) != SL_OK)
            sim_fail(w, "shadow: %s", err.text);
    }
    l->version++;
    for (int b = 0; b < layout->block_count; b++)
        note_shadow(w, l, b);
}

/* What must be as in the undisturbed run: in bsp everything, else what does not depend on the order of steps: with exchange early the norm does. */
static void check_commit_facts(struct sim_world *w, const struct sl_message *m)
{
    if (!w->model->known)
        return;
    const struct sl_commit *fact = &w->model->facts[m->step].commit;
    bool same = !w->model->whole_numbers ? same_commit(&m->commit, fact)
                                         : m->commit.inverse_weight == fact->inverse_weight &&
                                                   (w->model->early || m->commit.clip == fact->clip);
    if (!same)
        sim_fail(w,
                "step %" PRId64 " is committed with weight %.17g clip %.17g rate %.17g k %.17g %.17g, the "
                "undisturbed run had %.17g %.17g %.17g %.17g %.17g",
                m->step, m->commit.inverse_weight, m->commit.clip, m->commit.rate, m->commit.coefficient[0],
                m->commit.coefficient[1], fact->inverse_weight, fact->clip, fact->rate, fact->coefficient[0],
                fact->coefficient[1]);
}

static int rank_of(const struct sim_world *w, struct sl_address to)
{
    for (int s = 0; s < w->servers; s++)
        if (to.role == SL_ROLE_SERVER && w->processes[s].incarnation == to.id)
            return s;
    return -1;
}

/* With exchange early a step's coefficients are decided once: whoever computes any of its slots, and its commit, have the same. */
static void check_coefficients(struct sim_world *w, const struct sl_message *m, const double *coefficient)
{
    struct sim_lineage *l = find_lineage(w, m->cluster);
    if (l == NULL || m->step < 0 || m->step >= w->model->total_steps)
        return; /* nothing was loaded under this mark, or what must not be: said elsewhere */
    struct sim_coefficients *known = &l->coefficients[m->step];
    if (!known->decided)
        memcpy(known->value, coefficient, sizeof(known->value));
    known->decided = true;
    if (memcmp(known->value, coefficient, sizeof(known->value)) != 0)
        sim_fail(w, "step %" PRId64 " is computed with k %.17g %.17g here, with %.17g %.17g there", m->step,
                known->value[0], known->value[1], coefficient[0], coefficient[1]);
}

static void on_commit(struct sim_world *w, struct sl_address to, const struct sl_message *m)
{
    struct sim_lineage *l = find_lineage(w, m->cluster);
    if (l == NULL || m->step < 0 || m->step >= w->model->total_steps) {
        sim_fail(w, "step %" PRId64 " is committed, before anything was loaded or after the end", m->step);
        return;
    }
    int64_t before = m->version - 1;
    if (before < l->begin || before > l->version || (before == l->version && l->stepped[m->step])) {
        sim_fail(w, "step %" PRId64 " is committed to version %" PRId64 ": the run stands at %" PRId64 "%s",
                m->step, m->version, l->version,
                l->stepped[m->step] ? ", and the step was committed before" : "");
        return;
    }
    struct sim_update *update = &l->updates[before];
    if (before == l->version) {
        *update = (struct sim_update){.step = m->step, .commit = m->commit};
        l->stepped[m->step] = true;
        check_commit_facts(w, m);
        if (w->learn)
            w->model->facts[m->step].commit = m->commit;
        if (l->shadow != NULL)
            update_shadow(w, l, m);
        else
            l->version++;
    }
    if (update->step != m->step || !same_commit(&update->commit, &m->commit))
        sim_fail(w,
                "version %" PRId64 ": a server is told step %" PRId64
                " with k %.17g, another one step %" PRId64 " with k %.17g",
                m->version, m->step, m->commit.coefficient[0], update->step, update->commit.coefficient[0]);
    int rank = rank_of(w, to);
    if (rank >= 0 && rank < 64) {
        if ((update->told >> rank & 1) != 0)
            sim_fail(w, "server %d is told version %" PRId64 " twice", rank, m->version);
        update->told |= (uint64_t)1 << rank;
    }
}

void sim_check_sent(
        struct sim_world *w, struct sim_process *p, struct sl_address to, const struct sl_message *m)
{
    (void)p;
    if (m->kind == SL_MESSAGE_COMMIT)
        on_commit(w, to, m);
    if (w->model->early && m->kind == SL_MESSAGE_COMMIT)
        check_coefficients(w, m, m->commit.coefficient);
    if (w->model->early && m->kind == SL_MESSAGE_ASSIGN &&
            (m->phase == SL_PHASE_TRAIN || m->phase == SL_PHASE_AUDIT))
        check_coefficients(w, m, m->coefficient);
}

/* ---- servers ---- */

void sim_check_server(struct sim_world *w, struct sim_process *p)
{
    int64_t version = ps_server_version(p->server);
    if (version == p->checked_version || w->failure[0] != 0)
        return;
    if (version < p->checked_version || (p->checked_version >= 0 && version != p->checked_version + 1)) {
        sim_fail(w, "server %u went from version %" PRId64 " to %" PRId64, p->rank, p->checked_version,
                version);
        return;
    }
    struct sim_lineage *l = find_lineage(w, p->mark);
    if (l == NULL || version > l->version || version < l->begin) {
        sim_fail(w, "server %u stands at version %" PRId64 ", which was not committed", p->rank, version);
        return;
    }
    p->checked_version = version;
    for (int b = 0; b < w->model->layout->block_count; b++) {
        if (!ps_table_owns(p->table, b))
            continue;
        struct ps_block_state state = ps_table_capture(p->table, b);
        uint64_t hash = sim_hash_state(w->model, b, &state),
                 params = sim_hash_params(w->model, b, state.params->data);
        ps_block_state_fini(&state);
        if (w->learn && !w->model->whole_numbers) {
            l->state_hash[place(w, version, b)] = w->model->state_hash[place(w, version, b)] = hash;
            l->params_hash[place(w, version, b)] = w->model->params_hash[place(w, version, b)] = params;
        }
        if (hash != l->state_hash[place(w, version, b)] || params != l->params_hash[place(w, version, b)]) {
            sim_fail(w, "server %u: block %d has wrong bits at version %" PRId64, p->rank, b, version);
            return;
        }
    }
}

void sim_check_params(struct sim_world *w, const struct sim_process *p, const struct sl_message *params)
{
    const struct sim_lineage *l = find_lineage(w, p->mark);
    if (w->learn || l == NULL)
        return;
    int block = (int)params->block;
    const uint64_t *expected = &l->params_hash[place(w, params->version, block)];
    bool sense = params->version >= l->begin && params->version <= l->version;
    bool right = params->encoding[0] != SL_ENCODING_DENSE ||
                 (sense && *expected == sim_hash_params(w->model, block, params->frames[0].data));
    if (params->encoding[0] == SL_ENCODING_CHANGED) { /* what comes of lines shows in the worker's memory */
        sense = sense && params->held >= l->begin && params->held <= params->version;
        right = params->frames[0].size > 0 ||
                (sense && *expected == l->params_hash[place(w, params->held, block)]);
    }
    if (!sense || !right)
        sim_fail(w, "server %u sends block %u as version %" PRId64 " with other bits", p->rank, params->block,
                params->version);
}

/* ---- which gradients count ---- */

static struct sim_account *find_account(
        struct sim_world *w, const struct sim_process *p, int64_t step, bool make)
{
    struct sim_check *check = &w->check;
    size_t size = (size_t)w->model->layout->block_count * (size_t)w->config.batch.slots;
    for (int i = 0; i < check->account_count; i++) {
        struct sim_account *a = &check->accounts[i];
        if (a->process == p->index && a->life == p->life && a->mark == p->mark && a->step == step)
            return a;
    }
    if (!make)
        return NULL;
    struct sim_account *free_one = NULL;
    for (int i = 0; i < check->account_count && free_one == NULL; i++) /* of a life or run that is over */
        if (w->processes[check->accounts[i].process].life != check->accounts[i].life ||
                check->accounts[i].mark != w->processes[check->accounts[i].process].mark)
            free_one = &check->accounts[i];
    if (free_one == NULL && check->account_count == check->account_capacity) {
        check->account_capacity = check->account_capacity == 0 ? 8 : 2 * check->account_capacity;
        check->accounts =
                sl_realloc(check->accounts, (size_t)check->account_capacity, sizeof(*check->accounts));
        assert(check->accounts != NULL);
    }
    if (free_one == NULL) {
        free_one = &check->accounts[check->account_count++];
        free_one->base = sl_alloc(size, sizeof(int64_t));
        assert(free_one->base != NULL);
    }
    free_one->process = p->index;
    free_one->life = p->life;
    free_one->mark = p->mark;
    free_one->step = step;
    for (size_t i = 0; i < size; i++)
        free_one->base[i] = -1;
    return free_one;
}

static bool is_acknowledged(
        const struct sl_outbox *answers, struct sl_address from, const struct sl_message *push)
{
    for (int i = 0; i < answers->count; i++) {
        const struct sl_message *m = answers->items[i].message;
        if (m->kind == SL_MESSAGE_ACK && sl_address_equal(answers->items[i].to, from) &&
                m->block == push->block && m->step == push->step && sl_tree_equal(m->node, push->node))
            return true;
    }
    return false;
}

void sim_origin_put(struct sl_message *push, struct sim_origin origin)
{
    push->compute_us = origin.mark;
    push->count = (uint64_t)origin.base;
    push->hash = (uint64_t)origin.step;
}

struct sim_origin sim_origin_get(const struct sl_message *push)
{
    return (struct sim_origin){push->compute_us, (int64_t)push->count, (int64_t)push->hash};
}

/* By the rule of ps/reduction.h: the first one that covers some slot anew counts, and takes the place of narrower ones below it. */
void sim_check_pushed(struct sim_world *w, struct sim_process *p, struct sl_address from,
        const struct sl_message *push, const struct sl_outbox *answers)
{
    struct sim_lineage *l = find_lineage(w, p->mark);
    if (l == NULL || !is_acknowledged(answers, from, push))
        return;
    for (int64_t v = l->begin; v < p->checked_version; v++)
        if (l->updates[v].step == push->step)
            return; /* of a step that is applied: acknowledged, not counted */
    if (push->step < l->begin)
        return;
    struct sim_origin origin = sim_origin_get(push);
    if (origin.mark != p->mark || origin.step != push->step) {
        sim_fail(w,
                "server %u counts gradients of step %" PRId64 " of mark %" PRIx64 " for step %" PRId64
                " of mark %" PRIx64,
                p->rank, origin.step, origin.mark, push->step, p->mark);
        return;
    }
    struct sim_account *account = find_account(w, p, push->step, true);
    uint32_t slots = sim_model_slots(w->model, push->step), begin = sl_tree_begin(push->node),
             end = sl_tree_end(slots, push->node);
    int64_t *base = account->base + (size_t)push->block * (size_t)w->config.batch.slots;
    bool counts = false;
    for (uint32_t s = begin; s < end; s++)
        counts = counts || base[s] < 0;
    for (uint32_t s = begin; counts && s < end; s++)
        base[s] = origin.base;
}

static int64_t bound(const struct sim_world *w)
{
    switch (w->config.consistency.mode) {
    case SL_CONSISTENCY_BSP:
        return 0;
    case SL_CONSISTENCY_SSP:
        return w->config.consistency.staleness;
    case SL_CONSISTENCY_ASP:
        break;
    }
    return INT64_MAX;
}

static bool is_trained_by(const struct sim_world *w, const struct sim_process *p, int block)
{
    return ps_table_owns(p->table, block) && !w->model->layout->blocks[block].frozen;
}

static bool owns_trained(const struct sim_world *w, const struct sim_process *p)
{
    bool any = false;
    for (int b = 0; b < w->model->layout->block_count; b++)
        any |= is_trained_by(w, p, b);
    return any;
}

void sim_check_committing(struct sim_world *w, struct sim_process *p, const struct sl_message *commit)
{
    if (commit->version != p->checked_version + 1)
        return; /* dropped, or else its version is found wrong */
    struct sim_account *account = find_account(w, p, commit->step, false);
    if (account == NULL && !owns_trained(w, p))
        return; /* nothing is pushed to it */
    if (account == NULL) {
        sim_fail(w, "server %u is told to commit step %" PRId64 ", of which it has nothing", p->rank,
                commit->step);
        return;
    }
    uint32_t slots = sim_model_slots(w->model, commit->step);
    for (int b = 0; b < w->model->layout->block_count; b++) {
        for (uint32_t s = 0; s < slots && is_trained_by(w, p, b); s++) {
            int64_t base = account->base[(size_t)b * (size_t)w->config.batch.slots + s],
                    age = commit->version - 1 - base;
            if (base < 0) {
                sim_fail(w, "server %u commits step %" PRId64 " without slot %u of block %d", p->rank,
                        commit->step, s, b);
                return;
            }
            if (age > bound(w) || age < 0) {
                sim_fail(w,
                        "server %u commits step %" PRId64 " to version %" PRId64
                        " with slot %u of block %d computed on version %" PRId64 ": %" PRId64 " updates old",
                        p->rank, commit->step, commit->version, s, b, base, age);
                return;
            }
            if (age > w->check.stalest)
                w->check.stalest = age;
        }
    }
    account->mark = UINT64_MAX; /* closed: its place is free */
}

int64_t sim_check_base(struct sim_world *w, const struct sim_process *p)
{
    struct sim_lineage *l = find_lineage(w, p->mark);
    int64_t oldest = INT64_MAX;
    if (l == NULL) {
        sim_fail(w, "worker %d computes, but nothing was ever loaded under its mark", p->index);
        return -1;
    }
    for (int b = 0; b < w->model->layout->block_count; b++) {
        uint64_t hash = sim_hash_params(w->model, b, p->params + w->model->layout->blocks[b].offset);
        int64_t version = l->version;
        while (version >= l->begin && l->params_hash[place(w, version, b)] != hash)
            version--;
        if (version < l->begin) {
            sim_fail(w, "worker %d computes on bits of block %d that no version of it had", p->index, b);
            return -1;
        }
        if (version < oldest)
            oldest = version;
    }
    return oldest;
}

/* ---- links ---- */

static struct sim_window *window(struct sim_process *p, struct sl_address peer)
{
    for (int i = 0; i < p->window_count; i++)
        if (sl_address_equal(p->windows[i].peer, peer))
            return &p->windows[i];
    if (p->window_count == p->window_capacity) {
        p->window_capacity = p->window_capacity == 0 ? 8 : 2 * p->window_capacity;
        p->windows = sl_realloc(p->windows, (size_t)p->window_capacity, sizeof(*p->windows));
        assert(p->windows != NULL);
    }
    p->windows[p->window_count] = (struct sim_window){.peer = peer};
    return &p->windows[p->window_count++];
}

void sim_check_arrived(
        struct sim_world *w, struct sim_process *p, struct sl_address from, const struct sl_message *m)
{
    if (w->measure || m->peer != p->incarnation)
        return;
    struct sim_window *known = window(p, from);
    if (m->ack > known->acknowledged)
        known->acknowledged = m->ack;
}

void sim_check_delivered(struct sim_world *w, struct sim_process *p, const struct sl_link_event *event)
{
    if (w->measure || event->kind != SL_LINK_MESSAGE)
        return;
    const struct sl_message *m = event->message;
    struct sim_window *known = window(p, event->from);
    if (known->delivered == 0)
        known->incarnation = m->incarnation;
    if (m->sequence != known->delivered + 1 || m->incarnation != known->incarnation)
        sim_fail(w,
                "process %d is given message %" PRIu64 " of %" PRIx64 " behind message %" PRIu64
                " of %" PRIx64,
                p->index, m->sequence, m->incarnation, known->delivered, known->incarnation);
    known->delivered = m->sequence;
}

void sim_check_window(
        struct sim_world *w, struct sim_process *p, struct sl_address to, const struct sl_message *m)
{
    if (w->measure || m->sequence <= SL_LINKS_WINDOW_COUNT)
        return;
    uint64_t acknowledged = window(p, to)->acknowledged;
    if (m->sequence > acknowledged + SL_LINKS_WINDOW_COUNT)
        sim_fail(w, "process %d sends message %" PRIu64 " where only %" PRIu64 " are acknowledged", p->index,
                m->sequence, acknowledged);
}

/* ---- the coordinator's actions ---- */

static struct sim_lineage *newest_lineage(struct sim_world *w)
{
    return w->check.lineage_count > 0 ? &w->check.lineages[w->check.lineage_count - 1] : NULL;
}

static bool same_numbers(const double *a, const double *b, int count)
{
    return memcmp(a, b, (size_t)count * sizeof(*a)) == 0;
}

void sim_check_step(struct sim_world *w, const struct sim_process *p, const struct ps_step_record *record)
{
    (void)p;
    struct sim_lineage *l = newest_lineage(w);
    if (l == NULL || record->step <= l->begin || record->step > l->version) {
        sim_fail(w, "a record of version %" PRId64 ", which was not committed", record->step);
        return;
    }
    int64_t step = l->updates[record->step - 1].step;
    struct sim_fact *fact = &w->model->facts[step];
    if (w->learn)
        fact->record = *record;
    if (!w->learn && !w->model->known)
        return;
    bool bsp = !w->model->whole_numbers;
    bool same = record->samples == fact->record.samples &&
                record->samples == sim_model_samples(w->model, step) &&
                ((w->model->early && w->model->whole_numbers) || record->norm == fact->record.norm) &&
                same_numbers(record->loss, fact->record.loss, SIM_BRANCHES) &&
                same_numbers(record->accuracy, fact->record.accuracy, SIM_BRANCHES) &&
                same_numbers(record->score, fact->record.score, SIM_MODALITIES);
    if (bsp)
        same = same && record->rate == fact->record.rate &&
               same_numbers(record->ratio, fact->record.ratio, SIM_MODALITIES) &&
               same_numbers(record->coefficient, fact->record.coefficient, SIM_MODALITIES) &&
               (w->model->early || same_numbers(record->cosine, fact->record.cosine, SIM_MODALITIES));
    if (!same)
        sim_fail(w,
                "the record of step %" PRId64 " differs from the undisturbed run's: samples %" PRId64
                " loss %.17g score %.17g norm %.17g, had %" PRId64 " %.17g %.17g %.17g",
                step, record->samples, record->loss[0], record->score[0], record->norm, fact->record.samples,
                fact->record.loss[0], fact->record.score[0], fact->record.norm);
}

static double expected_loss(struct sim_world *w, struct sim_lineage *l)
{
    const struct sl_layout *layout = w->model->layout;
    struct sl_evaluation *evaluation = NULL;
    struct sl_error err = {0};
    SL_AUTO_FREE float *params = sl_alloc_aligned(layout->count, sizeof(float));
    assert(params != NULL);
    ps_table_copy(l->shadow, params, NULL, NULL);
    if (sl_evaluation_create(&evaluation, SIM_BRANCHES, SIM_LABELS, &err) != SL_OK)
        return NAN;
    sim_model_validate(w->model, params, 0, sim_model_units(w->model), evaluation);
    double loss = sl_evaluation_metric(evaluation, SIM_BRANCHES - 1, SL_METRIC_LOSS);
    sl_evaluation_destroy(evaluation);
    return loss;
}

void sim_check_validation(
        struct sim_world *w, const struct sim_process *p, const struct sl_evaluation *evaluation)
{
    struct sim_lineage *l = newest_lineage(w);
    int64_t count = sl_evaluation_count(evaluation, SIM_BRANCHES - 1),
            step = ps_coordinator_training(p->coordinator)->step;
    double loss = sl_evaluation_metric(evaluation, SIM_BRANCHES - 1, SL_METRIC_LOSS);
    if (l == NULL || count != (int64_t)w->model->validation_count || step != l->version) {
        sim_fail(w, "a validation of %" PRId64 " samples after step %" PRId64 ", the run stands at %" PRId64,
                count, step, l == NULL ? -1 : l->version);
        return;
    }
    if (w->learn)
        w->model->validation_loss[step] = loss;
    double expected = l->shadow != NULL ? expected_loss(w, l) : w->model->validation_loss[step];
    if (!(loss == expected))
        sim_fail(w, "the validation after step %" PRId64 " gives a loss of %.17g, not %.17g", step, loss,
                expected);
}

void sim_check_snapshot(struct sim_world *w, const struct sim_process *p, const struct ps_training *training)
{
    (void)p;
    struct sim_lineage *l = newest_lineage(w);
    if (l == NULL || training->step != l->version) {
        sim_fail(w, "a snapshot of step %" PRId64 " is begun, the run stands at %" PRId64, training->step,
                l == NULL ? -1 : l->version);
        return;
    }
    for (int64_t step = 0; step < w->model->total_steps; step++)
        if (l->stepped[step] != (step < training->step)) {
            sim_fail(w, "a snapshot of step %" PRId64 " is begun, but step %" PRId64 " is %s", training->step,
                    step, l->stepped[step] ? "in" : "not in");
            return;
        }
}

void sim_check_saved(struct sim_world *w, const struct sim_process *p, const struct sl_message *m)
{
    (void)p;
    struct sim_lineage *l = newest_lineage(w);
    if (l == NULL || w->disk.gathering == NULL || m->block >= (uint32_t)w->model->layout->block_count) {
        sim_fail(w, "block %u is saved, but no snapshot was begun", m->block);
        return;
    }
    struct sl_buffer buffers[3] = {{0}};
    for (int f = 0; f < m->frame_count && f < 3; f++)
        buffers[f].data = (void *)(uintptr_t)m->frames[f].data;
    struct ps_block_state state = {
            &buffers[0], m->frame_count > 1 ? &buffers[1] : NULL, m->frame_count > 2 ? &buffers[2] : NULL};
    int64_t version = w->disk.gathering->training.step;
    if (sim_hash_state(w->model, (int)m->block, &state) != l->state_hash[place(w, version, (int)m->block)])
        sim_fail(w, "block %u is saved for step %" PRId64 " with wrong bits", m->block, version);
}

void sim_check_finished(struct sim_world *w, const struct sim_process *p, enum sl_status status)
{
    const struct ps_training *training = ps_coordinator_training(p->coordinator);
    if (status != SL_OK)
        return;
    if (training->step != w->model->total_steps)
        sim_fail(w, "training has finished after step %" PRId64 " of %" PRId64, training->step,
                w->model->total_steps);
    else if (w->disk.newest == NULL || w->disk.newest->training.step != w->model->total_steps)
        sim_fail(w, "training has finished well without a snapshot of the end");
}

void sim_check_fini(struct sim_world *w)
{
    for (int i = 0; i < w->check.lineage_count; i++) {
        struct sim_lineage *l = &w->check.lineages[i];
        sl_free(l->updates);
        sl_free(l->stepped);
        sl_free(l->coefficients);
        sl_free(l->params_hash);
        sl_free(l->state_hash);
        ps_table_destroy(l->shadow);
    }
    for (int i = 0; i < w->check.account_count; i++)
        sl_free(w->check.accounts[i].base);
    sl_free(w->check.lineages);
    sl_free(w->check.accounts);
}
