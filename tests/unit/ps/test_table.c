/* The table: spans, versions, shared values, and the whole step against a plain computation over the flat vector. */
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

static const struct sl_commit commit = {
        .inverse_weight = 1.0 / 32, .clip = 0.5, .rate = 1e-2, .coefficient = {0.25, 1.0}};

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

/* plain_step is the same update, parameter by parameter, over the flat vectors. */
static void plain_step(const struct sl_layout *layout, float *const flat[SL_TAGS], float *w, float *m,
        float *v, int64_t count)
{
    struct ps_optimiser optimiser = ps_optimiser_from_config(config);
    optimiser.kernels = ps_kernels_reference();
    struct ps_optimiser_step step = {count, commit.inverse_weight, commit.clip, commit.rate};
    for (int p = 0; p < layout->param_count; p++) {
        const struct sl_param *param = &layout->params[p];
        size_t at = param->offset;
        if (param->frozen)
            continue;
        step.rate = commit.rate * (double)param->lr_scale;
        struct ps_optimiser_state state = {w + at, m + at, v + at};
        ps_optimiser_update(&optimiser, &step, &state, param->part == SL_PART_FUSION ? NULL : flat[0] + at,
                param->part == SL_PART_HEAD ? NULL : flat[1] + at, param->count,
                param->part == SL_PART_EXTRACTOR ? commit.coefficient[param->modality] : 1.0, param->decay);
    }
}

static void expect_vector(const float *got, const float *wanted, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&got[i], &wanted[i], sizeof(float)) != 0)
            fail_msg("%s[%zu]: %a, expected %a", what, i, (double)got[i], (double)wanted[i]);
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
                plain_step(layout, flat, w, m, v, t + 1);
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
    assert_true(fabs(norm2 - wanted_norm2) <= 1e-10 * wanted_norm2);
    assert_true(fabs(dot - wanted_dot) <= 1e-10 * wanted_norm2);
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
            flat[tag][text->offset + 300] = keep;
        }
    }
    ps_table_destroy(table);
    sl_free(flat[0]);
    sl_free(flat[1]);
    sl_layout_destroy(layout);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct sl_layout *layout = fixture_layout(config, FIXTURE_BLOCK);
    struct ps_optimiser optimiser = ps_optimiser_from_config(config);
    for (uint64_t n = 1;; n++) {
        struct ps_table *table = NULL;
        sl_memory_fail_after(n);
        enum sl_status s = ps_table_create(&table, layout, &optimiser, NULL, 0, &err);
        sl_memory_fail_after(0);
        ps_table_destroy(table);
        if (s == SL_OK)
            break;
        assert_int_equal(s, SL_NO_MEMORY);
        assert_true(n < 10000);
    }
    sl_layout_destroy(layout);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_updates_as_the_flat_vector),
            cmocka_unit_test(test_subsets_make_the_whole),
            cmocka_unit_test(test_versions_and_shared_values),
            cmocka_unit_test(test_measure),
            cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
