/* The table: spans, versions, shared values, and the whole step against a plain computation over the flat vector. */
#include "common/tree.h"
#include "ps/table.h"
#include "tests/unit/ps/fixture.h"

#include <math.h>

static struct sl_error err;
static struct sl_config *config;

static int setup(void **state)
{
    (void)state;
    config = fixture_config();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sl_free(config);
    return 0;
}

/* tagged_grads points into two whole flat vectors where the block has that tag. */
static void tagged_grads(const struct sl_block *block, float *const flat[SL_TAGS], const float *ret[SL_TAGS])
{
    for (int tag = 0; tag < SL_TAGS; tag++)
        ret[tag] = block->tagged[tag] ? flat[tag] + block->offset : NULL;
}

static struct ps_table *make_table(const struct sl_layout *layout, const int *blocks, int count)
{
    struct ps_optimiser optimiser = ps_optimiser_from_config(config);
    struct ps_table *table = NULL;
    if (ps_table_create(&table, layout, &optimiser, blocks, count, &err) != SL_OK)
        fail_msg("%s", err.text);
    return table;
}

static const struct sl_commit commit = {.inverse_weight = 1.0 / 32,
        .clip = 0.5,
        .rate = 1e-2,
        .coefficient = {0.25, 1.0},
        .fused = {1.25, 0.75},
        .update = {1.0, 0.5}};

static void apply_all(
        struct ps_table *table, const struct sl_layout *layout, float *const flat[SL_TAGS], int64_t version)
{
    for (int b = 0; b < layout->block_count; b++) {
        const float *grads[SL_TAGS];
        tagged_grads(&layout->blocks[b], flat, grads);
        if (ps_table_owns(table, b) && ps_table_apply(table, b, version, &commit, grads, &err) != SL_OK)
            fail_msg("%s", err.text);
    }
}

/* plain_step is the same update, parameter by parameter, over the flat vectors. Returns what it did to those that are not frozen. */
static struct sl_block_change plain_step(const struct sl_layout *layout, float *const flat[SL_TAGS], float *w,
        float *m, float *v, int64_t count)
{
    struct ps_optimiser optimiser = ps_optimiser_from_config(config);
    optimiser.kernels = ps_kernels_reference();
    struct ps_optimiser_step step = {count, commit.inverse_weight, commit.clip, commit.rate};
    struct sl_block_change change = {0};
    for (int p = 0; p < layout->param_count; p++) {
        const struct sl_param *param = &layout->params[p];
        size_t at = param->offset;
        if (param->frozen)
            continue;
        step.rate = commit.rate * (double)param->lr_scale;
        struct ps_optimiser_state state = {w + at, m + at, v + at};
        struct ps_optimiser_factors factors = PS_OPTIMISER_PLAIN;
        if (param->part == SL_PART_EXTRACTOR)
            factors = (struct ps_optimiser_factors){commit.coefficient[param->modality],
                    commit.fused[param->modality], commit.update[param->modality]};
        ps_optimiser_update(&optimiser, &step, &state, param->part == SL_PART_FUSION ? NULL : flat[0] + at,
                param->part == SL_PART_HEAD ? NULL : flat[1] + at, param->count, &factors, param->decay,
                &change);
    }
    return change;
}

static void expect_vector(const float *got, const float *wanted, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&got[i], &wanted[i], sizeof(float)) != 0)
            fail_msg("%s[%zu]: %a, expected %a", what, i, (double)got[i], (double)wanted[i]);
}

/* The blocks' changes come to the same, though other runs of values are summed. */
static void expect_change(const struct ps_table *table, int blocks, const struct sl_block_change *wanted)
{
    struct sl_block_change total = {0};
    for (int b = 0; b < blocks; b++) {
        struct sl_block_change change = ps_table_change(table, b);
        total.update2 += change.update2;
        total.params2 += change.params2;
    }
    assert_true(total.update2 > 0.0 && fabs(total.update2 - wanted->update2) <= 1e-5 * wanted->update2);
    assert_true(total.params2 > 0.0 && fabs(total.params2 - wanted->params2) <= 1e-5 * wanted->params2);
}

static void zero_gaps(const struct sl_layout *layout, float *x)
{
    float *copy = sl_alloc(layout->count, sizeof(float));
    assert_non_null(copy);
    for (int p = 0; p < layout->param_count; p++)
        memcpy(copy + layout->params[p].offset, x + layout->params[p].offset,
                layout->params[p].count * sizeof(float));
    memcpy(x, copy, layout->count * sizeof(float));
    sl_free(copy);
}

static void test_updates_as_the_flat_vector(void **state)
{
    (void)state;
    static const size_t cuts[] = {16, 256, SL_BLOCK_FLOATS};
    for (int kind = 0; kind < 2; kind++) {
        config->optimiser.kind = kind == 0 ? SL_OPTIMISER_ADAMW : SL_OPTIMISER_SGD;
        for (size_t c = 0; c < 3; c++) {
            struct sl_layout *layout = fixture_layout(config, cuts[c]);
            layout->params[3].frozen = true;
            layout->params[5].lr_scale = 0.25F;
            layout->params[6].lr_scale = layout->params[7].lr_scale = 3.0F;
            size_t n = layout->count;
            float *flat[SL_TAGS] = {fixture_vector(n, 1, 1.0F), fixture_vector(n, 2, 1.0F)};
            float *w = fixture_vector(n, 3, 0.1F), *m = sl_alloc(n, sizeof(float)),
                  *v = sl_alloc(n, sizeof(float));
            float *w2 = sl_alloc(n, sizeof(float)), *m2 = sl_alloc(n, sizeof(float)),
                  *v2 = sl_alloc(n, sizeof(float));
            zero_gaps(layout, w);
            struct ps_table *table = make_table(layout, NULL, 0);
            assert_int_equal(ps_table_load(table, w, NULL, NULL, 0, &err), SL_OK);
            for (int64_t t = 0; t < 3; t++) {
                apply_all(table, layout, flat, t);
                struct sl_block_change change = plain_step(layout, flat, w, m, v, t + 1);
                expect_change(table, layout->block_count, &change);
            }
            ps_table_copy(table, w2, m2, v2);
            expect_vector(w2, w, n, "params");
            expect_vector(m2, m, n, "m");
            if (kind == 0)
                expect_vector(v2, v, n, "v");
            assert_int_equal(ps_table_has_second(table), kind == 0);
            ps_table_destroy(table);
            float *all[] = {flat[0], flat[1], w, m, v, w2, m2, v2};
            for (int i = 0; i < 8; i++)
                sl_free(all[i]);
            sl_layout_destroy(layout);
        }
    }
    config->optimiser.kind = SL_OPTIMISER_ADAMW;
}

static void test_subsets_make_the_whole(void **state)
{
    (void)state;
    struct sl_layout *layout = fixture_layout(config, FIXTURE_BLOCK);
    size_t n = layout->count;
    int *odd = sl_alloc((size_t)layout->block_count, sizeof(int)), odd_count = 0;
    int *even = sl_alloc((size_t)layout->block_count, sizeof(int)), even_count = 0;
    for (int b = 0; b < layout->block_count; b++) {
        if (b % 2 == 1)
            odd[odd_count++] = b;
        else
            even[even_count++] = b;
    }
    float *flat[SL_TAGS] = {fixture_vector(n, 1, 1.0F), fixture_vector(n, 2, 1.0F)},
          *w = fixture_vector(n, 3, 0.1F);
    float *one = sl_alloc(n, sizeof(float)), *two = sl_alloc(n, sizeof(float));
    struct ps_table *tables[] = {make_table(layout, NULL, 0), make_table(layout, odd, odd_count),
            make_table(layout, even, even_count)};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ps_table_load(tables[i], w, NULL, NULL, 5, &err), SL_OK);
        apply_all(tables[i], layout, flat, 5);
        ps_table_copy(tables[i], i == 0 ? one : two, NULL, NULL);
    }
    expect_vector(two, one, n, "params");
    assert_true(ps_table_owns(tables[1], 1) && !ps_table_owns(tables[1], 0) && !ps_table_owns(tables[1], -1));
    assert_false(ps_table_owns(tables[0], layout->block_count));
    for (int i = 0; i < 3; i++)
        ps_table_destroy(tables[i]);
    float *all[] = {flat[0], flat[1], w, one, two};
    for (int i = 0; i < 5; i++)
        sl_free(all[i]);
    sl_free(odd);
    sl_free(even);
    sl_layout_destroy(layout);
}

static void test_versions_and_shared_values(void **state)
{
    (void)state;
    struct sl_layout *layout = fixture_layout(config, FIXTURE_BLOCK);
    size_t n = layout->count;
    float *flat[SL_TAGS] = {fixture_vector(n, 1, 1.0F), fixture_vector(n, 2, 1.0F)},
          *w = fixture_vector(n, 3, 0.1F);
    const float *grads[SL_TAGS];
    tagged_grads(&layout->blocks[0], flat, grads);
    struct ps_table *table = make_table(layout, NULL, 0);
    assert_int_equal(ps_table_load(table, w, NULL, NULL, 7, &err), SL_OK);
    struct sl_buffer *held = ps_table_share(table, 0);
    size_t bytes = layout->blocks[0].count * sizeof(float);
    assert_int_equal(held->size, bytes);
    assert_int_equal(ps_table_apply(table, 0, 6, &commit, grads, &err), SL_STALE);
    assert_int_equal(ps_table_apply(table, 0, 8, &commit, grads, &err), SL_STALE);
    assert_memory_equal(held->data, w, bytes);
    sl_memory_fail_after(1);
    assert_int_equal(ps_table_apply(table, 0, 7, &commit, grads, &err), SL_NO_MEMORY);
    sl_memory_fail_after(0);
    assert_int_equal(ps_table_version(table, 0), 7);
    assert_int_equal(ps_table_apply(table, 0, 7, &commit, grads, &err), SL_OK);
    assert_int_equal(ps_table_version(table, 0), 8);
    assert_int_equal(ps_table_apply(table, 0, 7, &commit, grads, &err), SL_STALE);
    assert_memory_equal(held->data, w, bytes); /* the message on its way keeps what it took */
    struct sl_buffer *now = ps_table_share(table, 0);
    assert_ptr_not_equal(now, held);
    assert_memory_not_equal(now->data, w, bytes);
    sl_buffer_release(held);
    sl_buffer_release(now);
    /* nobody holds it: written in place */
    assert_int_equal(ps_table_apply(table, 0, 8, &commit, grads, &err), SL_OK);
    struct sl_buffer *again = ps_table_share(table, 0);
    assert_ptr_equal(again, now);
    sl_buffer_release(again);
    ps_table_destroy(table);
    float *all[] = {flat[0], flat[1], w};
    for (int i = 0; i < 3; i++)
        sl_free(all[i]);
    sl_layout_destroy(layout);
}

/* frame_of makes a frame of a block's part of a flat vector, `skew` bytes into its buffer. */
static struct sl_frame frame_of(const struct sl_block *block, const float *flat, size_t skew)
{
    size_t size = block->count * sizeof(float);
    struct sl_buffer *buffer = sl_buffer_create(size + skew);
    assert_non_null(buffer);
    memcpy((char *)buffer->data + skew, flat + block->offset, size);
    return (struct sl_frame){buffer, (char *)buffer->data + skew, size};
}

static void put_all(struct ps_table *table, const struct sl_layout *layout, float *const state[3],
        size_t skew, int64_t version)
{
    for (int b = 0; b < layout->block_count; b++) {
        struct sl_frame frames[3];
        for (int k = 0; k < 3; k++)
            frames[k] = frame_of(&layout->blocks[b], state[k], skew);
        assert_false(ps_table_loaded(table, b));
        if (ps_table_put(table, b, &frames[0], &frames[1], &frames[2], version, &err) != SL_OK)
            fail_msg("%s", err.text);
        assert_true(ps_table_loaded(table, b));
        for (int k = 0; k < 3; k++)
            sl_buffer_release(frames[k].buffer);
    }
}

/* What one capture held when it was taken. */
struct captured {
    struct ps_block_state state;
    float copy[3][FIXTURE_BLOCK];
};

static void capture(struct captured *captured, const struct ps_table *table, int block)
{
    captured->state = ps_table_capture(table, block);
    const struct sl_buffer *buffers[] = {captured->state.params, captured->state.m, captured->state.v};
    for (int k = 0; k < 3; k++)
        memcpy(captured->copy[k], buffers[k]->data, buffers[k]->size);
}

static void expect_unchanged(const struct captured *captured)
{
    const struct sl_buffer *buffers[] = {captured->state.params, captured->state.m, captured->state.v};
    for (int k = 0; k < 3; k++)
        assert_memory_equal(buffers[k]->data, captured->copy[k], buffers[k]->size);
}

/* One table is put from bytes at odd addresses and captured and shared all the time, the other is loaded from flat vectors and left alone. */
static void test_captures_do_not_change(void **state)
{
    (void)state;
    enum { STEPS = 9 };
    struct sl_layout *layout = fixture_layout(config, FIXTURE_BLOCK);
    size_t n = layout->count;
    float *flat[SL_TAGS] = {fixture_vector(n, 1, 1.0F), fixture_vector(n, 2, 1.0F)};
    float *begin[3] = {fixture_vector(n, 3, 0.1F), fixture_vector(n, 4, 0.1F), fixture_vector(n, 5, 0.1F)};
    for (size_t i = 0; i < n; i++)
        begin[2][i] = fabsf(begin[2][i]);
    struct ps_table *busy = make_table(layout, NULL, 0), *quiet = make_table(layout, NULL, 0);
    put_all(busy, layout, begin, 3, 4);
    assert_int_equal(ps_table_load(quiet, begin[0], begin[1], begin[2], 4, &err), SL_OK);
    struct captured *all = sl_alloc((size_t)(STEPS * layout->block_count), sizeof(*all));
    assert_non_null(all);
    for (int t = 0; t < STEPS; t++) {
        for (int b = 0; b < layout->block_count; b++)
            if ((b + t) % 3 != 0)
                capture(&all[t * layout->block_count + b], busy, b);
        apply_all(busy, layout, flat, 4 + t);
        apply_all(quiet, layout, flat, 4 + t);
        /* some are let go at once, the others live on over later updates */
        for (int b = 0; b < layout->block_count; b++) {
            struct captured *one = &all[t * layout->block_count + b];
            if (one->state.params != NULL)
                expect_unchanged(one);
            if (b % 2 == 0)
                ps_block_state_fini(&one->state);
        }
    }
    for (int i = 0; i < STEPS * layout->block_count; i++) {
        if (all[i].state.params != NULL)
            expect_unchanged(&all[i]);
        ps_block_state_fini(&all[i].state);
    }
    float *got[3], *wanted[3];
    for (int k = 0; k < 3; k++) {
        got[k] = sl_alloc(n, sizeof(float));
        wanted[k] = sl_alloc(n, sizeof(float));
    }
    ps_table_copy(busy, got[0], got[1], got[2]);
    ps_table_copy(quiet, wanted[0], wanted[1], wanted[2]);
    for (int k = 0; k < 3; k++) {
        expect_vector(got[k], wanted[k], n, "state");
        assert_memory_not_equal(got[k], begin[k], n * sizeof(float));
        sl_free(got[k]);
        sl_free(wanted[k]);
        sl_free(begin[k]);
    }
    sl_free(all);
    sl_free(flat[0]);
    sl_free(flat[1]);
    ps_table_destroy(busy);
    ps_table_destroy(quiet);
    sl_layout_destroy(layout);
}

static void nothing(void *context)
{
    *(int *)context += 1;
}

/* An aligned buffer is shared as it is; foreign memory is never written, even when nobody else seems to hold it. */
static void test_put_shares_and_does_not_write_foreign_memory(void **state)
{
    (void)state;
    struct sl_layout *layout = fixture_layout(config, FIXTURE_BLOCK);
    const struct sl_block *block = &layout->blocks[0];
    size_t size = block->count * sizeof(float);
    float *flat[SL_TAGS] = {fixture_vector(layout->count, 1, 1.0F), fixture_vector(layout->count, 2, 1.0F)},
          *w = fixture_vector(layout->count, 3, 0.1F), *foreign = sl_alloc_aligned(block->count, 4);
    const float *grads[SL_TAGS];
    tagged_grads(block, flat, grads);
    memcpy(foreign, w + block->offset, size);
    struct ps_table *table = make_table(layout, NULL, 0);
    int freed = 0;
    struct sl_buffer *adopted = sl_buffer_adopt(foreign, size, nothing, &freed);
    struct sl_frame frame = {adopted, foreign, size};
    assert_int_equal(ps_table_put(table, 0, &frame, NULL, NULL, 0, &err), SL_OK);
    struct ps_block_state held = ps_table_capture(table, 0);
    assert_ptr_equal(held.params, adopted);
    for (size_t i = 0; i < block->count; i++) /* no moments = zero */
        assert_true(((float *)held.m->data)[i] == 0.0F && ((float *)held.v->data)[i] == 0.0F);
    ps_block_state_fini(&held);
    sl_buffer_release(adopted);
    assert_int_equal(freed, 0);
    assert_int_equal(ps_table_apply(table, 0, 0, &commit, grads, &err), SL_OK);
    assert_int_equal(freed, 1);
    assert_memory_equal(foreign, w + block->offset, size);
    /* our own buffer that nobody else holds is written where it lies */
    struct sl_frame own = frame_of(block, w, 0);
    assert_int_equal(ps_table_put(table, 0, &own, &own, NULL, 9, &err), SL_OK);
    assert_int_equal(ps_table_version(table, 0), 9);
    held = ps_table_capture(table, 0);
    assert_ptr_equal(held.params, own.buffer);
    ps_block_state_fini(&held);
    sl_buffer_release(own.buffer);
    assert_int_equal(ps_table_apply(table, 0, 9, &commit, grads, &err), SL_OK);
    ps_table_destroy(table);
    float *all[] = {flat[0], flat[1], w, foreign};
    for (int i = 0; i < 4; i++)
        sl_free(all[i]);
    sl_layout_destroy(layout);
}

static void test_bad_frames(void **state)
{
    (void)state;
    struct sl_layout *layout = fixture_layout(config, FIXTURE_BLOCK);
    float *w = fixture_vector(layout->count, 3, 0.1F);
    struct ps_table *table = make_table(layout, NULL, 0);
    struct sl_frame good = frame_of(&layout->blocks[0], w, 0), bad = good, none = {NULL, NULL, 0};
    assert_int_equal(ps_table_put(table, 0, &good, NULL, NULL, 5, &err), SL_OK);
    for (int by = -4; by <= 4; by += 8) {
        bad.size = good.size + (size_t)by;
        for (int k = 0; k < 3; k++) {
            assert_int_equal(ps_table_put(table, 0, k == 0 ? &bad : &good, k == 1 ? &bad : &good,
                                     k == 2 ? &bad : &good, 8, &err),
                    SL_BAD_DATA);
            assert_non_null(strstr(err.text, "block 0 came with"));
        }
    }
    assert_int_equal(ps_table_put(table, 0, &none, NULL, NULL, 8, &err), SL_BAD_DATA);
    for (uint64_t fail = 1; fail <= 4; fail++) { /* two buffers of zeros are made */
        sl_memory_fail_after(fail);
        enum sl_status s = ps_table_put(table, 0, &good, &none, NULL, 8, &err);
        sl_memory_fail_after(0);
        assert_int_equal(s, SL_NO_MEMORY);
    }
    assert_int_equal(ps_table_version(table, 0), 5); /* as before */
    sl_buffer_release(good.buffer);
    sl_free(w);
    ps_table_destroy(table);
    sl_layout_destroy(layout);
}

/* After any allocation that fails, an update of a block whose buffers are all held leaves it as it was. */
static void test_apply_without_memory(void **state)
{
    (void)state;
    struct sl_layout *layout = fixture_layout(config, FIXTURE_BLOCK);
    size_t n = layout->count;
    float *flat[SL_TAGS] = {fixture_vector(n, 1, 1.0F), fixture_vector(n, 2, 1.0F)},
          *w = fixture_vector(n, 3, 0.1F);
    const float *grads[SL_TAGS];
    tagged_grads(&layout->blocks[0], flat, grads);
    struct ps_table *table = make_table(layout, NULL, 0);
    assert_int_equal(ps_table_load(table, w, w, w, 0, &err), SL_OK);
    struct captured before, now;
    capture(&before, table, 0);
    uint64_t fail = 1;
    for (;; fail++) {
        sl_memory_fail_after(fail);
        enum sl_status s = ps_table_apply(table, 0, 0, &commit, grads, &err);
        sl_memory_fail_after(0);
        if (s == SL_OK)
            break;
        assert_int_equal(s, SL_NO_MEMORY);
        assert_int_equal(ps_table_version(table, 0), 0);
        capture(&now, table, 0);
        assert_memory_equal(now.copy, before.copy, layout->blocks[0].count * sizeof(float));
        ps_block_state_fini(&now.state);
    }
    assert_int_equal(fail, 5); /* two allocations a copy; copies that a failed attempt made are kept */
    expect_unchanged(&before);
    ps_block_state_fini(&before.state);
    ps_table_destroy(table);
    float *all[] = {flat[0], flat[1], w};
    for (int i = 0; i < 3; i++)
        sl_free(all[i]);
    sl_layout_destroy(layout);
}

static void test_measure(void **state)
{
    (void)state;
    struct sl_layout *layout = fixture_layout(config, FIXTURE_BLOCK);
    int frozen = sl_layout_find(layout, "extractor.visual.fc1.weight");
    assert_true(frozen >= 0);
    layout->params[frozen].frozen = true;
    size_t n = layout->count;
    float *flat[SL_TAGS] = {fixture_vector(n, 1, 1.0F), fixture_vector(n, 2, 1.0F)};
    flat[0][layout->params[frozen].offset + 1] = NAN; /* frozen: nobody looks */
    struct ps_table *table = make_table(layout, NULL, 0);
    double norm2 = 0.0, dot = 0.0;
    for (int b = 0; b < layout->block_count; b++) {
        const float *grads[SL_TAGS];
        struct sl_block_sums sums = {0};
        tagged_grads(&layout->blocks[b], flat, grads);
        if (ps_table_measure(table, b, grads, &sums, &err) != SL_OK)
            fail_msg("%s", err.text);
        norm2 += sums.norm2;
        dot += layout->blocks[b].part == SL_PART_EXTRACTOR ? sums.dot : 0.0;
    }
    double wanted_norm2 = 0.0, wanted_dot = 0.0;
    for (int p = 0; p < layout->param_count; p++) {
        const struct sl_param *param = &layout->params[p];
        for (size_t i = param->offset; !param->frozen && i < param->offset + param->count; i++) {
            double u = param->part == SL_PART_FUSION ? 0.0 : (double)flat[0][i],
                   f = param->part == SL_PART_HEAD ? 0.0 : (double)flat[1][i];
            wanted_norm2 += (u + f) * (u + f);
            wanted_dot += u * f;
        }
    }
    assert_true(fabs(norm2 - wanted_norm2) <= 1.2e-6 * wanted_norm2); /* the bound of kernels.h */
    assert_true(fabs(dot - wanted_dot) <= 1.2e-6 * wanted_norm2);
    /* every way of not being finite, named */
    const float bad[] = {NAN, INFINITY, -INFINITY, 2e36F};
    const struct sl_param *text = &layout->params[sl_layout_find(layout, "extractor.text.fc2.weight")];
    int block = 0;
    while (layout->blocks[block].offset + layout->blocks[block].count <= text->offset + 300)
        block++;
    for (int tag = 0; tag < SL_TAGS; tag++) {
        for (int i = 0; i < 4; i++) {
            float keep = flat[tag][text->offset + 300];
            flat[tag][text->offset + 300] = bad[i];
            const float *grads[SL_TAGS];
            struct sl_block_sums sums = {.norm2 = 42.0};
            tagged_grads(&layout->blocks[block], flat, grads);
            assert_int_equal(ps_table_measure(table, block, grads, &sums, &err), SL_DIVERGED);
            assert_non_null(strstr(err.text, "1 numbers of the gradient of extractor.text.fc2.weight"));
            assert_true(sums.norm2 == 42.0);
            flat[tag][text->offset + 300] = 1e30F; /* large, but a number */
            assert_int_equal(ps_table_measure(table, block, grads, &sums, &err), SL_OK);
            assert_true(fabs(sums.norm2 - 1e60) < 1e55);
            flat[tag][text->offset + 300] = keep;
        }
    }
    ps_table_destroy(table);
    sl_free(flat[0]);
    sl_free(flat[1]);
    sl_layout_destroy(layout);
}

/* The last addition of a block with its measure: any team gives the bits of adding first and measuring alone, also where one tag has nothing to add, and where what is added to must not be written. */
static void test_last_sum_by_any_team(void **state)
{
    (void)state;
    struct sl_layout *layout = fixture_layout(config, FIXTURE_BLOCK);
    size_t n = layout->count;
    float *left[SL_TAGS] = {fixture_vector(n, 1, 1.0F), fixture_vector(n, 2, 1.0F)},
          *right[SL_TAGS] = {fixture_vector(n, 3, 1.0F), fixture_vector(n, 4, 1.0F)};
    struct ps_table *table = make_table(layout, NULL, 0);
    for (int threads = 1; threads <= 4; threads++) {
        struct sl_team *team = NULL;
        assert_int_equal(sl_team_create(&team, threads, &err), SL_OK);
        for (int b = 0; b < layout->block_count; b++) {
            const struct sl_block *block = &layout->blocks[b];
            for (int adds = 1; adds < 16;
                    adds++) { /* bits: which tags have something to add; to which it is added apart */
                float *sum[SL_TAGS] = {NULL}, *wanted[SL_TAGS] = {NULL};
                struct ps_last_sum last = {.sum = {NULL}};
                for (int tag = 0; tag < SL_TAGS; tag++) {
                    if (!block->tagged[tag])
                        continue;
                    sum[tag] = sl_alloc(block->count, sizeof(float));
                    wanted[tag] = sl_alloc(block->count, sizeof(float));
                    memcpy(sum[tag], left[tag] + block->offset, block->count * sizeof(float));
                    memcpy(wanted[tag], left[tag] + block->offset, block->count * sizeof(float));
                    last.sum[tag] = sum[tag];
                    if ((adds >> tag & 1) == 0)
                        continue;
                    last.more[tag] = right[tag] + block->offset;
                    sl_vector_add(wanted[tag], last.more[tag], block->count);
                    if ((adds >> SL_TAGS >> tag & 1) == 0)
                        continue;
                    last.from[tag] = left[tag] + block->offset;
                    memset(sum[tag], 0xff, block->count * sizeof(float));
                }
                struct sl_block_sums alone = {0}, together = {0};
                assert_int_equal(ps_table_measure(table, b,
                                         (const float *const[SL_TAGS]){wanted[0], wanted[1]}, &alone, &err),
                        SL_OK);
                assert_int_equal(ps_table_add_measure(table, team, b, &last, &together, &err), SL_OK);
                assert_memory_equal(&together, &alone, sizeof(alone));
                for (int p = 0; p < layout->param_count; p++) {
                    const struct sl_param *param = &layout->params[p];
                    bool inside = param->offset >= block->offset &&
                                  param->offset + param->count <= block->offset + block->count;
                    for (int tag = 0; inside && tag < SL_TAGS; tag++)
                        if (sum[tag] != NULL)
                            assert_memory_equal(sum[tag] + param->offset - block->offset,
                                    wanted[tag] + param->offset - block->offset,
                                    param->count * sizeof(float));
                }
                for (int tag = 0; tag < SL_TAGS; tag++) {
                    sl_free(sum[tag]);
                    sl_free(wanted[tag]);
                }
            }
        }
        sl_team_destroy(team);
    }
    ps_table_destroy(table);
    for (int tag = 0; tag < SL_TAGS; tag++) {
        sl_free(left[tag]);
        sl_free(right[tag]);
    }
    sl_layout_destroy(layout);
}

/* ---- which lines change ---- */

#define CHANGES_STEPS 12

/* A gradient of few lines, others at every step, all of them in the last. */
static void name_lines(const struct sl_layout *layout, float *grads, int64_t t)
{
    for (size_t i = 0; i < layout->count; i++) {
        size_t line = i / 16;
        bool named = line % 7 == (size_t)t % 7 && line % 3 == 0;
        grads[i] = named || t == CHANGES_STEPS - 1 ? sinf((float)(i + (size_t)t)) : 0.0F;
    }
}

static bool line_is_equal(const float *a, const float *b, size_t count, size_t line)
{
    size_t left = count - line * 16;
    return memcmp(a + line * 16, b + line * 16, (left < 16 ? left : 16) * sizeof(float)) == 0;
}

/* Of every version before: a line that is not named has the bits that it had; of the one before also: a line that is named has not, unless weight decay spares the comparison. */
static void expect_lines(const struct ps_table *table, const struct sl_layout *layout, int block,
        float *const past[], int64_t version)
{
    const struct sl_block *place = &layout->blocks[block];
    unsigned char lines[4096];
    struct sl_buffer *now = ps_table_share(table, block);
    assert_true(place->count / 16 / 8 + 8 <= sizeof(lines));
    for (int64_t held = 0; held <= version; held++) {
        bool known = ps_table_changed_since(table, block, held, lines);
        if (place->sparse)
            assert_int_equal(known, version - held <= 8);
        else
            assert_int_equal(known, held == version || place->frozen);
        for (size_t line = 0; known && line * 16 < place->count; line++) {
            bool named = (lines[line / 8] >> line % 8 & 1) != 0,
                 equal = line_is_equal(now->data, past[held] + place->offset, place->count, line);
            assert_true(named || equal);
            assert_false(named && equal && held + 1 == version && !(config->optimiser.weight_decay > 0.0F));
        }
    }
    sl_buffer_release(now);
}

/* The block with lines to tell apart ends with the same bits as the one without. */
static void changes_of(size_t block_floats)
{
    struct sl_layout *layout = fixture_layout(config, block_floats);
    struct ps_table *plain = make_table(layout, NULL, 0);
    for (int b = 0; b < layout->block_count; b++)
        layout->blocks[b].sparse = !layout->blocks[b].frozen && layout->blocks[b].part != SL_PART_HEAD;
    struct ps_table *table = make_table(layout, NULL, 0);
    float *w = fixture_vector(layout->count, 3, 0.1F), *past[CHANGES_STEPS + 1],
          *grads = sl_alloc_aligned(layout->count, sizeof(float)), *flat[SL_TAGS] = {grads, grads},
          *all = sl_alloc(layout->count, sizeof(float));
    w[5] = -0.0F;
    assert_int_equal(ps_table_load(table, w, NULL, NULL, 0, &err), SL_OK);
    assert_int_equal(ps_table_load(plain, w, NULL, NULL, 0, &err), SL_OK);
    for (int64_t t = 0; t <= CHANGES_STEPS; t++) {
        past[t] = sl_alloc(layout->count, sizeof(float));
        ps_table_copy(table, past[t], NULL, NULL);
        for (int b = 0; b < layout->block_count; b++)
            expect_lines(table, layout, b, past, t);
        if (t == CHANGES_STEPS)
            break;
        name_lines(layout, grads, t);
        apply_all(table, layout, flat, t);
        apply_all(plain, layout, flat, t);
        for (int b = 0; b < layout->block_count; b++) {
            struct sl_block_change a = ps_table_change(table, b), c = ps_table_change(plain, b);
            assert_memory_equal(&a, &c, sizeof(a));
        }
    }
    ps_table_copy(plain, all, NULL, NULL);
    expect_vector(past[CHANGES_STEPS], all, layout->count, "params");
    for (int t = 0; t <= CHANGES_STEPS; t++)
        sl_free(past[t]);
    sl_free(w);
    sl_free(grads);
    sl_free(all);
    ps_table_destroy(plain);
    ps_table_destroy(table);
    sl_layout_destroy(layout);
}

static void test_lines_that_change(void **state)
{
    (void)state;
    struct sl_config *kept = fixture_config();
    *kept = *config;
    config->fusion.mlp = 256; /* runs that are longer than what is compared at once */
    config->modalities[0].freeze_count = 1;
    (void)snprintf(config->modalities[0].freeze[0], sizeof(config->modalities[0].freeze[0]), "fc1.*");
    for (int kind = 0; kind < 8; kind++) {
        config->optimiser.kind = kind % 2 == 0 ? SL_OPTIMISER_ADAMW : SL_OPTIMISER_SGD;
        config->optimiser.momentum = kind / 2 % 2 == 0 ? 0.0F : 0.9F;
        config->optimiser.second_moment = kind / 2 % 2 == 0 ? SL_SECOND_BOUND : SL_SECOND_MODULATED;
        config->optimiser.weight_decay = kind / 4 == 0 ? 0.0F : 0.05F;
        changes_of(256);
        changes_of(SL_BLOCK_FLOATS);
    }
    *config = *kept;
    sl_free(kept);
}

/* What a table held before values were put is nothing that lines can be relative to. */
static void test_values_from_elsewhere(void **state)
{
    (void)state;
    struct sl_layout *layout = fixture_layout(config, FIXTURE_BLOCK);
    unsigned char lines[FIXTURE_BLOCK];
    layout->blocks[0].sparse = true;
    struct ps_table *table = make_table(layout, NULL, 0);
    float *flat[SL_TAGS] = {fixture_vector(layout->count, 1, 1.0F), fixture_vector(layout->count, 2, 1.0F)},
          *w = fixture_vector(layout->count, 3, 0.1F);
    assert_int_equal(ps_table_load(table, w, NULL, NULL, 4, &err), SL_OK);
    apply_all(table, layout, flat, 4);
    assert_true(ps_table_changed_since(table, 0, 4, lines));
    struct sl_frame frame = frame_of(&layout->blocks[0], w, 0);
    assert_int_equal(ps_table_put(table, 0, &frame, NULL, NULL, 5, &err), SL_OK);
    assert_false(ps_table_changed_since(table, 0, 4, lines));
    assert_true(ps_table_changed_since(table, 0, 5, lines));
    assert_false(ps_table_changed_since(table, 0, 6, lines));
    sl_buffer_release(frame.buffer);
    ps_table_destroy(table);
    float *all[] = {flat[0], flat[1], w};
    for (int i = 0; i < 3; i++)
        sl_free(all[i]);
    sl_layout_destroy(layout);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct sl_layout *layout = fixture_layout(config, FIXTURE_BLOCK);
    struct ps_optimiser optimiser = ps_optimiser_from_config(config);
    float *w = fixture_vector(layout->count, 3, 0.1F);
    layout->blocks[1].sparse = true;
    for (uint64_t n = 1;; n++) {
        struct ps_table *table = NULL;
        sl_memory_fail_after(n);
        enum sl_status s = ps_table_create(&table, layout, &optimiser, NULL, 0, &err);
        if (s == SL_OK)
            s = ps_table_load(table, w, NULL, NULL, 0, &err);
        sl_memory_fail_after(0);
        ps_table_destroy(table);
        if (s == SL_OK)
            break;
        assert_int_equal(s, SL_NO_MEMORY);
        assert_true(n < 10000);
    }
    sl_free(w);
    sl_layout_destroy(layout);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_updates_as_the_flat_vector),
            cmocka_unit_test(test_subsets_make_the_whole),
            cmocka_unit_test(test_versions_and_shared_values),
            cmocka_unit_test(test_captures_do_not_change),
            cmocka_unit_test(test_put_shares_and_does_not_write_foreign_memory),
            cmocka_unit_test(test_bad_frames),
            cmocka_unit_test(test_apply_without_memory),
            cmocka_unit_test(test_measure),
            cmocka_unit_test(test_last_sum_by_any_team),
            cmocka_unit_test(test_lines_that_change),
            cmocka_unit_test(test_values_from_elsewhere),
            cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
