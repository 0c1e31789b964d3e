/* Activations between forward and backward: what is kept comes back once under its key; never more than fits; another pass takes over the memory. */
#include "worker/activations.h"

#include "tests/unit/worker/fixture.h"

static struct sl_error err;
static struct sl_config *config;
static struct sl_layout *layout;
static struct wk_model *model;

static int set_up(void **state)
{
    (void)state;
    config = fixture_config();
    layout = fixture_layout(config);
    return wk_model_create(&model, config, layout, &err) == SL_OK ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    wk_model_destroy(model);
    sl_layout_destroy(layout);
    sl_free(config);
    return 0;
}

static struct wk_activations fresh(void)
{
    struct wk_activations a;
    if (wk_activations_init(&a, model, config, 1, &err) != SL_OK)
        fail_msg("%s", err.text);
    return a;
}

/* Room for so many. */
static struct wk_kept *kept_for(size_t count)
{
    struct wk_activations a = fresh();
    size_t each = wk_workspace_size(a.workspace) + wk_batch_size(a.batch);
    struct wk_kept *kept = NULL;
    wk_activations_fini(&a);
    assert_int_equal(wk_kept_create(&kept, model, config, 1, count * each + each / 2, &err), SL_OK);
    return kept;
}

static struct wk_activations_key key(uint64_t parameters, int64_t step, uint32_t slot)
{
    return (struct wk_activations_key){parameters, step, slot};
}

static void test_what_is_kept_comes_back_once(void **state)
{
    (void)state;
    struct wk_kept *kept = kept_for(3);
    struct wk_activations own = fresh(), got = {0};
    const struct wk_workspace *first = own.workspace;
    own.stats.count = 17;
    wk_kept_put(kept, key(1, 5, 2), &own);
    assert_true(own.workspace != first && own.workspace != NULL && own.batch != NULL);
    assert_false(wk_kept_take(kept, key(1, 5, 3), &got));
    assert_false(wk_kept_take(kept, key(1, 4, 2), &got));
    assert_false(wk_kept_take(kept, key(2, 5, 2), &got));
    assert_true(wk_kept_take(kept, key(1, 5, 2), &got));
    assert_true(got.workspace == first && got.stats.count == 17);
    struct wk_activations none = {0};
    assert_false(wk_kept_take(kept, key(1, 5, 2), &none));
    wk_kept_return(kept, &got);
    assert_null(got.workspace);
    /* its memory is used again */
    const struct wk_workspace *second = own.workspace;
    wk_kept_put(kept, key(1, 6, 0), &own);
    assert_true(own.workspace == first);
    assert_true(wk_kept_take(kept, key(1, 6, 0), &got) && got.workspace == second);
    wk_kept_return(kept, &got);
    wk_activations_fini(&own);
    wk_kept_destroy(kept);
}

static void test_never_more_than_fits(void **state)
{
    (void)state;
    struct wk_kept *kept = kept_for(2);
    struct wk_activations own = fresh(), got;
    for (uint32_t slot = 0; slot < 5; slot++)
        wk_kept_put(kept, key(1, 0, slot), &own);
    for (uint32_t slot = 0; slot < 5; slot++) {
        assert_true(wk_kept_take(kept, key(1, 0, slot), &got) == (slot < 2));
        if (slot < 2)
            wk_kept_return(kept, &got);
    }
    /* the next pass takes over what nobody came for */
    wk_kept_put(kept, key(1, 1, 0), &own);
    wk_kept_put(kept, key(1, 2, 0), &own);
    wk_kept_put(kept, key(1, 2, 1), &own);
    assert_false(wk_kept_take(kept, key(1, 1, 0), &got));
    assert_true(wk_kept_take(kept, key(1, 2, 1), &got));
    wk_kept_return(kept, &got);
    wk_activations_fini(&own);
    wk_kept_destroy(kept);
    kept = kept_for(0);
    own = fresh();
    const struct wk_workspace *mine = own.workspace;
    wk_kept_put(kept, key(1, 0, 0), &own);
    assert_true(own.workspace == mine);
    assert_false(wk_kept_take(kept, key(1, 0, 0), &got));
    wk_activations_fini(&own);
    wk_kept_destroy(kept);
}

static void test_without_memory_nothing_is_kept(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 20; n++) {
        struct wk_kept *kept = kept_for(2);
        struct wk_activations own = fresh(), got;
        const struct wk_workspace *mine = own.workspace;
        sl_memory_fail_after(n);
        wk_kept_put(kept, key(1, 0, 0), &own);
        sl_memory_fail_after(0);
        assert_non_null(own.workspace);
        assert_true(wk_kept_take(kept, key(1, 0, 0), &got) == (own.workspace != mine));
        if (own.workspace != mine)
            wk_kept_return(kept, &got);
        wk_activations_fini(&own);
        wk_kept_destroy(kept);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_what_is_kept_comes_back_once),
            cmocka_unit_test(test_never_more_than_fits),
            cmocka_unit_test(test_without_memory_nothing_is_kept),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
