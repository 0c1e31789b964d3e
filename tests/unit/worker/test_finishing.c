/* Blocks that leave during a backward pass, of gradients with a buffer of their own and of folded ones. */
#include "worker/finishing.h"

#include "tests/unit/worker/fixture.h"
#include "worker/gradient_pool.h"
#include "worker/model/model.h"

#define SLOTS 5

static struct sl_error err;

struct world {
    struct sl_config *config;
    struct sl_layout *layout;
    struct wk_model *model;
    struct wk_gradient_pool *pool;
    struct wk_joining *joining;
    struct wk_finishing *finishing;
    struct sl_node cuts[2]; /* [0, 4) and the last slot */
    int given;              /* blocks, since the pass began */
};

static bool note_given(void *context, uint32_t slot, const int *blocks, int count)
{
    struct world *w = context;
    (void)slot;
    (void)blocks;
    w->given += count;
    return true;
}

/* freeze: pattern of the first modality's parameters that do not train, NULL = all do. */
static void open_world(struct world *w, const char *freeze)
{
    *w = (struct world){.config = fixture_config(), .cuts = {{2, 0}, {0, 4}}};
    struct sl_modality_config *modality = &w->config->modalities[0];
    modality->freeze_count = freeze != NULL;
    (void)snprintf(modality->freeze[0], sizeof(modality->freeze[0]), "%s", freeze == NULL ? "" : freeze);
    w->layout = fixture_layout(w->config);
    assert_int_equal(wk_model_create(&w->model, w->config, w->layout, &err), SL_OK);
    assert_int_equal(wk_gradient_pool_create(&w->pool, w->layout, &err), SL_OK);
    assert_int_equal(wk_joining_create(&w->joining, w->layout, SLOTS, &err), SL_OK);
    struct wk_finishing_options options = {.config = w->config,
            .layout = w->layout,
            .joining = w->joining,
            .fold = wk_model_fold(w->model),
            .give_floats = 1,
            .give = note_given,
            .context = w};
    assert_int_equal(wk_finishing_create(&w->finishing, &options, &err), SL_OK);
    wk_joining_begin(w->joining, SLOTS, w->cuts, 2);
}

static void close_world(struct world *w)
{
    wk_finishing_destroy(w->finishing);
    wk_joining_destroy(w->joining);
    wk_gradient_pool_destroy(w->pool);
    wk_model_destroy(w->model);
    sl_layout_destroy(w->layout);
    sl_free(w->config);
}

/* What a pass of a slot adds to a number. */
static float gradient_of(uint32_t slot, int tag, size_t offset)
{
    return (float)(slot + 1) + 0.25F * (float)tag + (float)(offset % 7);
}

static bool exists(const struct world *w, int tag, size_t offset)
{
    return tag == SL_TAG_UNIMODAL ? offset < w->layout->extractor_end : offset >= w->layout->head_end;
}

/* Does as a backward pass: range by range, the heads first, then from the end of the flat vector to its begin. Shapes: vectors of `vector` floats. */
static void walk(struct world *w, uint32_t slot, float *at, size_t vector, bool folded)
{
    const struct wk_fold *fold = wk_model_fold(w->model);
    for (int i = 0; i < fold->count; i++) {
        int range = i == 0 ? 0 : fold->count - i;
        size_t begin = fold->begin[range], end = fold->begin[range + 1],
               place = folded ? wk_fold_place(fold, begin) : begin;
        for (int tag = 0; tag < SL_TAGS; tag++)
            for (size_t k = 0; k < end - begin; k++)
                if (exists(w, tag, begin + k))
                    at[(size_t)tag * vector + place + k] += gradient_of(slot, tag, begin + k);
        wk_finishing_range(w->finishing, begin, end);
    }
}

/* A pass of a slot with a gradient of its own. Its deposit: whether that makes its cut whole. */
static bool pass(struct world *w, uint32_t slot, const double *coefficients)
{
    struct sl_buffer *gradients = NULL;
    struct wk_node_sums sums = {.stats.count = 1};
    assert_int_equal(wk_gradient_pool_take(w->pool, NULL, &gradients, &err), SL_OK);
    float *at = gradients->data;
    w->given = 0;
    wk_joining_enter(w->joining, slot, &gradients);
    wk_finishing_begin(w->finishing, &(struct wk_finishing_pass){slot, at, NULL, coefficients, true});
    walk(w, slot, at, w->layout->count, false);
    return wk_joining_deposit(w->joining, slot, &sums);
}

/* The same of a slot whose left sibling is done. */
static bool pass_folded(struct world *w, uint32_t slot, const double *coefficients)
{
    struct sl_buffer *left = wk_joining_left(w->joining, slot), *none = NULL;
    struct wk_node_sums sums = {.stats.count = 1};
    assert_non_null(left);
    float *at = wk_finishing_folded(w->finishing);
    size_t vector = wk_model_fold(w->model)->floats;
    w->given = 0;
    wk_joining_enter(w->joining, slot, &none);
    wk_finishing_begin(w->finishing, &(struct wk_finishing_pass){slot, at, left->data, coefficients, true});
    walk(w, slot, at, vector, true);
    for (size_t i = 0; i < SL_TAGS * vector; i++)
        assert_true(at[i] == 0.0F); /* the next pass finds zeros */
    return wk_joining_deposit(w->joining, slot, &sums);
}

/* Two worlds, one whose right slots are folded: the same bits, of frozen blocks too, to which passes may add what nobody sums. */
static void compare(const double *coefficients, const char *freeze)
{
    struct world flat, folded;
    open_world(&flat, freeze);
    open_world(&folded, freeze);
    for (uint32_t slot = 0; slot < 4; slot++) {
        bool whole = pass(&flat, slot, coefficients);
        assert_int_equal(whole, slot == 3);
        assert_int_equal(whole,
                slot % 2 == 0 ? pass(&folded, slot, coefficients) : pass_folded(&folded, slot, coefficients));
        assert_int_equal(flat.given, slot == 3 ? flat.layout->trained_block_count : 0);
        assert_int_equal(folded.given, flat.given);
    }
    struct sl_buffer *a = wk_joining_take(flat.joining, flat.cuts[0]),
                     *b = wk_joining_take(folded.joining, folded.cuts[0]);
    struct sl_step_stats none = {0};
    assert_int_equal(
            wk_gradient_hash(flat.layout, a->data, &none), wk_gradient_hash(flat.layout, b->data, &none));
    const float *sum = b->data;
    if (coefficients == NULL && freeze == NULL)
        for (size_t i = 0; i < flat.layout->extractor_end; i++)
            assert_true(sum[i] == 10.0F + 4.0F * (float)(i % 7)); /* 1 + 2 + 3 + 4 */
    sl_buffer_release(a);
    sl_buffer_release(b);
    close_world(&flat);
    close_world(&folded);
}

static void test_folded_slots_give_the_same_bits(void **state)
{
    (void)state;
    compare(NULL, NULL);
    compare((const double[]){0.7, 0.3}, NULL);
    compare(NULL, "*");
    compare((const double[]){0.7, 0.3}, "fc1.*");
}

/* Only a left sibling that is done, and of the same cut, takes a slot's gradients. */
static void test_who_has_a_left_sibling(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, NULL);
    assert_null(wk_joining_left(w.joining, 1)); /* not begun */
    (void)pass(&w, 0, NULL);
    assert_non_null(wk_joining_left(w.joining, 1));
    assert_null(wk_joining_left(w.joining, 2)); /* a left one itself */
    assert_null(wk_joining_left(w.joining, 3));
    assert_null(wk_joining_left(w.joining, 4));
    (void)pass(&w, 1, NULL);
    assert_null(wk_joining_left(w.joining, 1)); /* joined */
    const struct sl_node alone[2] = {{0, 0}, {0, 1}};
    wk_joining_clear(w.joining);
    wk_joining_begin(w.joining, SLOTS, alone, 2);
    assert_true(pass(&w, 0, NULL));
    assert_null(wk_joining_left(w.joining, 1)); /* each is a node of its own */
    sl_buffer_release(wk_joining_take(w.joining, alone[0]));
    close_world(&w);
}

/* The pass of a right slot may come to frozen blocks when all others have been joined: until it is over nobody else gets its gradients. */
static void test_gradients_stay_until_the_pass_is_over(void **state)
{
    (void)state;
    struct world w;
    struct sl_buffer *right = NULL, *other = NULL;
    struct wk_node_sums sums = {.stats.count = 1};
    open_world(&w, "*");
    (void)pass(&w, 0, NULL);
    assert_int_equal(wk_gradient_pool_take(w.pool, NULL, &right, &err), SL_OK);
    float *at = right->data;
    wk_joining_enter(w.joining, 1, &right);
    wk_finishing_begin(w.finishing, &(struct wk_finishing_pass){1, at, NULL, NULL, true});
    walk(&w, 1, at, w.layout->count, false);
    assert_int_equal(wk_gradient_pool_take(w.pool, NULL, &other, &err), SL_OK);
    assert_ptr_not_equal(other->data, at);
    sl_buffer_release(other);
    (void)wk_joining_deposit(w.joining, 1, &sums);
    assert_null(wk_joining_peek(w.joining, (struct sl_node){0, 1}));
    wk_joining_clear(w.joining);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_folded_slots_give_the_same_bits),
            cmocka_unit_test(test_who_has_a_left_sibling),
            cmocka_unit_test(test_gradients_stay_until_the_pass_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
