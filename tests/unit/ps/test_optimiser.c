/* Updates: every instruction set gives the bits of the plain twin, wherever the run is cut, and the twin follows the formulas in double. */
#include "ps/optimiser.h"
#include "tests/unit/ps/fixture.h"

#include <float.h>
#include <math.h>

#define N 5003 /* odd, and more than one chunk */

struct run {
    float *params, *m, *v, *unimodal, *fused;
};

static struct run make_run(void)
{
    struct run run = {fixture_vector(N, 1, 0.1F), fixture_vector(N, 2, 1e-3F), fixture_vector(N, 3, 1e-3F),
            fixture_vector(N, 4, 2.0F), fixture_vector(N, 5, 2.0F)};
    for (size_t i = 0; i < N; i++)
        run.v[i] *= run.v[i];
    run.unimodal[7] = run.fused[7] = run.m[7] = run.v[7] = 0.0F;
    run.fused[8] = -run.unimodal[8]; /* the branches cancel each other */
    run.m[9] = FLT_MIN;              /* becomes subnormal, is flushed */
    run.unimodal[9] = run.fused[9] = 0.0F;
    return run;
}

static void free_run(struct run *run)
{
    sl_free(run->params);
    sl_free(run->m);
    sl_free(run->v);
    sl_free(run->unimodal);
    sl_free(run->fused);
}

static struct ps_optimiser make_optimiser(
        enum sl_optimiser_kind kind, enum sl_second_moment second, const struct ps_kernels *kernels)
{
    return (struct ps_optimiser){.kind = kind,
            .second_moment = second,
            .beta1 = 0.9,
            .beta2 = 0.999,
            .eps = 1e-8,
            .momentum = 0.9,
            .weight_decay = 0.05,
            .clip_norm = 1.0,
            .kernels = kernels};
}

static const struct ps_optimiser_step step = {
        .count = 3, .inverse_weight = 1.0 / 17, .clip = 0.375, .rate = 3e-3};

static const struct ps_optimiser_factors factors = {.unimodal = 0.4375, .fused = 1.125, .update = 0.75};

/* which gradients are there: both, one, none */
static const bool present[4][2] = {{true, true}, {true, false}, {false, true}, {false, false}};

static void update(
        const struct ps_optimiser *optimiser, struct run *run, const bool has[2], size_t cut, bool decay)
{
    struct sl_block_change change = {0};
    for (size_t begin = 0; begin < N; begin += cut) {
        size_t n = N - begin < cut ? N - begin : cut;
        struct ps_optimiser_state state = {run->params + begin, run->m + begin, run->v + begin};
        ps_optimiser_update(optimiser, &step, &state, has[0] ? run->unimodal + begin : NULL,
                has[1] ? run->fused + begin : NULL, n, &factors, decay, &change);
    }
}

static void expect_same(const struct run *a, const struct run *b, const char *what)
{
    const float *const x[] = {a->params, a->m, a->v}, *const y[] = {b->params, b->m, b->v};
    for (int t = 0; t < 3; t++)
        for (size_t i = 0; i < N; i++)
            if (memcmp(&x[t][i], &y[t][i], sizeof(float)) != 0)
                fail_msg("%s: tensor %d, element %zu: %a, expected %a", what, t, i, (double)x[t][i],
                        (double)y[t][i]);
}

static void test_same_bits_everywhere(void **state)
{
    (void)state;
    static const size_t cuts[] = {N, 2048, 16, 37};
    for (int mode = 0; mode < 12; mode++) {
        enum sl_optimiser_kind kind = mode / 4 == 2 ? SL_OPTIMISER_SGD : SL_OPTIMISER_ADAMW;
        enum sl_second_moment second = mode / 4 == 1 ? SL_SECOND_MODULATED : SL_SECOND_BOUND;
        const bool *has = present[mode % 4];
        struct run wanted = make_run();
        struct ps_optimiser reference = make_optimiser(kind, second, ps_kernels_reference());
        update(&reference, &wanted, has, N, true);
        for (int i = 0; ps_kernels_at(i) != NULL; i++) {
            for (size_t c = 0; c < sizeof(cuts) / sizeof(cuts[0]); c++) {
                struct run got = make_run();
                struct ps_optimiser optimiser = make_optimiser(kind, second, ps_kernels_at(i));
                update(&optimiser, &got, has, cuts[c], true);
                expect_same(&got, &wanted, ps_kernels_at(i)->name);
                free_run(&got);
            }
        }
        free_run(&wanted);
    }
}

/* one element in double, written from the formulas of the method */
static void formula(
        const struct ps_optimiser *o, double u, double f, bool decays, double *w, double *m, double *v)
{
    double r = step.clip * step.inverse_weight * (u + f),
           g = step.clip * step.inverse_weight * (factors.unimodal * u + factors.fused * f);
    double decay = decays ? o->weight_decay : 0.0;
    if (o->kind == SL_OPTIMISER_SGD) {
        *m = o->momentum * *m + g + decay * *w;
        *w -= factors.update * step.rate * *m;
        return;
    }
    double second = o->second_moment == SL_SECOND_BOUND ? fmax(fabs(g), fabs(r)) : g;
    *m = o->beta1 * *m + (1 - o->beta1) * g;
    *v = o->beta2 * *v + (1 - o->beta2) * second * second;
    double m_hat = *m / (1 - pow(o->beta1, 3)), v_hat = *v / (1 - pow(o->beta2, 3));
    *w -= step.rate * (factors.update * m_hat / (sqrt(v_hat) + o->eps) + decay * *w);
}

static void test_follows_formulas(void **state)
{
    (void)state;
    for (int mode = 0; mode < 6; mode++) {
        struct ps_optimiser optimiser = make_optimiser(mode / 2 == 2 ? SL_OPTIMISER_SGD : SL_OPTIMISER_ADAMW,
                mode / 2 == 1 ? SL_SECOND_MODULATED : SL_SECOND_BOUND, ps_kernels_best());
        bool decay = mode % 2 == 0;
        struct run before = make_run(), got = make_run();
        update(&optimiser, &got, present[0], N, decay);
        for (size_t i = 0; i < N; i++) {
            double w = (double)before.params[i], m = (double)before.m[i], v = (double)before.v[i];
            formula(&optimiser, (double)before.unimodal[i], (double)before.fused[i], decay, &w, &m, &v);
            if (!(fabs((double)got.params[i] - w) <= 1e-8 + 1e-6 * fabs(w)))
                fail_msg("mode %d, element %zu: %.9g, expected %.9g", mode, i, (double)got.params[i], w);
        }
        free_run(&before);
        free_run(&got);
    }
}

/* How far parameters go under a constant k of 1/2, against k = 1, when both branches' gradients are the same noise: what each scale and second moment leaves of it. */
static double way(enum sl_optimiser_kind kind, enum sl_second_moment second, struct ps_optimiser_factors with)
{
    enum { COUNT = 500, STEPS = 60 };
    struct ps_optimiser optimiser = make_optimiser(kind, second, ps_kernels_best());
    float *w = fixture_vector(COUNT, 1, 0.0F), *m = fixture_vector(COUNT, 1, 0.0F),
          *v = fixture_vector(COUNT, 1, 0.0F);
    double squares = 0.0;
    for (int64_t t = 1; t <= STEPS; t++) {
        float *g = fixture_vector(COUNT, 100 + (uint64_t)t, 1.0F);
        struct ps_optimiser_step now = {t, 1.0, 1.0, 1e-3};
        struct sl_block_change change = {0};
        ps_optimiser_update(
                &optimiser, &now, &(struct ps_optimiser_state){w, m, v}, g, g, COUNT, &with, false, &change);
        sl_free(g);
    }
    for (int i = 0; i < COUNT; i++)
        squares += (double)w[i] * (double)w[i];
    sl_free(w);
    sl_free(m);
    sl_free(v);
    return sqrt(squares);
}

static void test_what_a_constant_coefficient_leaves(void **state)
{
    (void)state;
    static const struct {
        enum sl_optimiser_kind kind;
        enum sl_second_moment second;
        struct ps_optimiser_factors factors;
        double share;
    } cases[] = {{SL_OPTIMISER_ADAMW, SL_SECOND_BOUND, {0.5, 1.0, 1.0}, 0.75},
            {SL_OPTIMISER_ADAMW, SL_SECOND_MODULATED, {0.5, 1.0, 1.0}, 1.0}, /* divided away */
            {SL_OPTIMISER_ADAMW, SL_SECOND_BOUND, {0.5, 0.5, 1.0}, 0.5},
            {SL_OPTIMISER_ADAMW, SL_SECOND_MODULATED, {0.5, 0.5, 1.0}, 1.0},
            {SL_OPTIMISER_ADAMW, SL_SECOND_BOUND, {1.0, 1.0, 0.5}, 0.5},
            {SL_OPTIMISER_ADAMW, SL_SECOND_MODULATED, {1.0, 1.0, 0.5}, 0.5},
            {SL_OPTIMISER_SGD, SL_SECOND_BOUND, {0.5, 1.0, 1.0}, 0.75},
            {SL_OPTIMISER_SGD, SL_SECOND_BOUND, {1.0, 1.0, 0.5}, 0.5}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        double share = way(cases[i].kind, cases[i].second, cases[i].factors) /
                       way(cases[i].kind, cases[i].second, PS_OPTIMISER_PLAIN);
        if (!(fabs(share - cases[i].share) < 1e-3))
            fail_msg("case %zu: %.5f of the way, expected %.2f", i, share, cases[i].share);
    }
}

/* Numbers that were decayed far down become zero instead of subnormal: the update's time would otherwise grow a hundredfold. */
static void test_no_subnormals(void **state)
{
    (void)state;
    struct ps_optimiser optimiser = make_optimiser(SL_OPTIMISER_ADAMW, SL_SECOND_BOUND, ps_kernels_best());
    struct run run = make_run();
    for (int i = 0; i < 1500; i++)
        update(&optimiser, &run, present[3], N, false);
    for (size_t i = 0; i < N; i++)
        assert_true(run.m[i] == 0.0F && (run.v[i] == 0.0F || run.v[i] >= FLT_MIN) && isfinite(run.params[i]));
    free_run(&run);
}

/* The bounds that kernels.h gives, against sums in long double. */
static void expect_near(const struct sl_block_sums *got, const float *unimodal, const float *fused)
{
    long double norm2 = 0.0L, dot = 0.0L, unimodal2 = 0.0L, fused2 = 0.0L, products = 0.0L;
    for (size_t i = 0; i < N; i++) {
        long double u = unimodal == NULL ? 0.0L : (long double)unimodal[i],
                    f = fused == NULL ? 0.0L : (long double)fused[i];
        norm2 += (u + f) * (u + f);
        dot += u * f;
        unimodal2 += u * u;
        fused2 += f * f;
        products += fabsl(u * f);
    }
    const long double part = 1.2e-6L;
    assert_true(fabsl((long double)got->norm2 - norm2) <= part * norm2);
    assert_true(fabsl((long double)got->dot - dot) <= part * products);
    assert_true(fabsl((long double)got->unimodal2 - unimodal2) <= part * unimodal2);
    assert_true(fabsl((long double)got->fused2 - fused2) <= part * fused2);
}

static void test_sums(void **state)
{
    (void)state;
    struct run run = make_run();
    for (int mode = 0; mode < 4; mode++) {
        const float *u = present[mode][0] ? run.unimodal : NULL, *f = present[mode][1] ? run.fused : NULL;
        struct sl_block_sums wanted = {.norm2 = 1.0, .dot = 2.0}, alone = {.norm2 = 0.0}; /* is added to */
        ps_kernels_reference()->measure(&wanted, u, f, N);
        ps_kernels_reference()->measure(&alone, u, f, N);
        for (int i = 0; ps_kernels_at(i) != NULL; i++) {
            struct sl_block_sums got = {.norm2 = 1.0, .dot = 2.0};
            ps_kernels_at(i)->measure(&got, u, f, N);
            assert_memory_equal(&got, &wanted, sizeof(got));
        }
        assert_true(wanted.norm2 == 1.0 + alone.norm2 && wanted.dot == 2.0 + alone.dot);
        expect_near(&alone, u, f);
    }
    free_run(&run);
}

/* A run with numbers whose squares a float cannot hold, or that are not finite, is measured in doubles: the same bits everywhere, and no other run suffers. */
static void test_sums_beyond_float(void **state)
{
    (void)state;
    static const float odd[] = {1e19F, -3e19F, 1e36F, FLT_MAX, 1e-22F, FLT_MIN, INFINITY, NAN};
    static const size_t places[] = {0, 255, 256, 700, N - 1};
    for (size_t o = 0; o < sizeof(odd) / sizeof(odd[0]); o++)
        for (size_t p = 0; p < sizeof(places) / sizeof(places[0]); p++) {
            struct run run = make_run();
            struct sl_block_sums wanted = {.norm2 = 0.0};
            run.unimodal[places[p]] = odd[o];
            ps_kernels_reference()->measure(&wanted, run.unimodal, run.fused, N);
            for (int i = 0; ps_kernels_at(i) != NULL; i++) {
                struct sl_block_sums got = {.norm2 = 0.0};
                ps_kernels_at(i)->measure(&got, run.unimodal, run.fused, N);
                if (isnan(wanted.norm2)) /* which of its bits is nobody's business */
                    assert_true(isnan(got.norm2) && isnan(got.unimodal2) && got.fused2 == wanted.fused2);
                else
                    assert_memory_equal(&got, &wanted, sizeof(got));
            }
            if (isfinite(odd[o]))
                expect_near(&wanted, run.unimodal, run.fused);
            else
                assert_true(!isfinite(wanted.unimodal2));
            free_run(&run);
        }
}

/* One kernel's addition of two runs with its measure: in place, or into memory that held something else. NULL = that gradient is not there. */
struct sums_of {
    float *sum[2];
    struct sl_block_sums sums;
};

static struct sums_of add_and_measure(const struct ps_kernels *kernels, const struct run *run,
        const struct run *more, const bool has[2], bool apart, size_t n)
{
    struct sums_of got = {.sums = {.norm2 = 1.0}};
    const float *first[2] = {run->unimodal, run->fused};
    for (int tag = 0; tag < 2; tag++) {
        if (!has[tag])
            continue;
        got.sum[tag] = sl_alloc(N, sizeof(float));
        assert_non_null(got.sum[tag]);
        if (!apart)
            memcpy(got.sum[tag], first[tag], n * sizeof(float));
    }
    kernels->add_measure(&got.sums, got.sum[0], apart && has[0] ? first[0] : NULL, more->fused, got.sum[1],
            apart && has[1] ? first[1] : NULL, more->unimodal, n);
    return got;
}

static void free_sums(struct sums_of *sums)
{
    sl_free(sums->sum[0]);
    sl_free(sums->sum[1]);
}

/* Adding and measuring in one pass gives the bits of one after the other, at lengths around the pieces it works in, and wherever the sum goes. */
static void test_sums_while_adding(void **state)
{
    (void)state;
    const size_t lengths[] = {1, 15, 16, 255, 256, 257, N};
    struct run run = make_run(), more = make_run();
    for (int mode = 0; mode < 3; mode++)
        for (size_t l = 0; l < sizeof(lengths) / sizeof(lengths[0]); l++) {
            struct sums_of wanted =
                    add_and_measure(ps_kernels_reference(), &run, &more, present[mode], false, lengths[l]);
            for (int i = -2; i < 0 || ps_kernels_at(i / 2) != NULL; i++) {
                const struct ps_kernels *kernels = i < 0 ? ps_kernels_reference() : ps_kernels_at(i / 2);
                struct sums_of got =
                        add_and_measure(kernels, &run, &more, present[mode], i % 2 != 0, lengths[l]);
                assert_memory_equal(&got.sums, &wanted.sums, sizeof(got.sums));
                for (int tag = 0; tag < 2; tag++)
                    if (got.sum[tag] != NULL)
                        assert_memory_equal(got.sum[tag], wanted.sum[tag], N * sizeof(float));
                free_sums(&got);
            }
            free_sums(&wanted);
        }
    free_run(&run);
    free_run(&more);
}

static void test_changes(void **state)
{
    (void)state;
    static const enum sl_optimiser_kind kinds[] = {SL_OPTIMISER_ADAMW, SL_OPTIMISER_SGD};
    struct run before = make_run();
    for (int kind = 0; kind < 2; kind++)
        for (size_t n = N - 17; n <= N; n++) { /* every rest of the lanes */
            struct sl_block_change wanted = {0};
            for (int i = -1; i < 0 || ps_kernels_at(i) != NULL; i++) {
                struct ps_optimiser optimiser = make_optimiser(
                        kinds[kind], SL_SECOND_BOUND, i < 0 ? ps_kernels_reference() : ps_kernels_at(i));
                struct run after = make_run();
                struct ps_optimiser_state moved = {after.params, after.m, after.v};
                struct sl_block_change told = {.update2 = 1.0, .params2 = 2.0}; /* is added to */
                ps_optimiser_update(
                        &optimiser, &step, &moved, after.unimodal, after.fused, n, &factors, true, &told);
                if (i < 0)
                    wanted = told;
                assert_memory_equal(&told, &wanted, sizeof(told));
                double update2 = 1.0, params2 = 2.0;
                for (size_t k = 0; k < n; k++) {
                    update2 += pow((double)after.params[k] - (double)before.params[k], 2.0);
                    params2 += pow((double)after.params[k], 2.0);
                }
                assert_true(update2 > 1.0 && fabs(told.update2 - update2) <= 1e-5 * (update2 - 1.0));
                assert_true(fabs(told.params2 - params2) <= 1e-5 * params2);
                free_run(&after);
            }
        }
    free_run(&before);
}

static void test_clip(void **state)
{
    (void)state;
    struct ps_optimiser optimiser = make_optimiser(SL_OPTIMISER_ADAMW, SL_SECOND_BOUND, ps_kernels_best());
    assert_true(ps_optimiser_clip(&optimiser, 0.0) == 1.0);
    assert_true(ps_optimiser_clip(&optimiser, 0.5) == 1.0);
    assert_true(ps_optimiser_clip(&optimiser, 4.0) == 1.0 / (4.0 + 1e-6));
    assert_true(ps_optimiser_clip(&optimiser, NAN) == 0.0);
    assert_true(ps_optimiser_clip(&optimiser, INFINITY) == 0.0);
    optimiser.clip_norm = 0.0;
    assert_true(ps_optimiser_clip(&optimiser, 1e9) == 1.0);
}

static void test_from_config(void **state)
{
    (void)state;
    struct sl_config *config = fixture_config();
    config->optimiser.kind = SL_OPTIMISER_SGD;
    struct ps_optimiser optimiser = ps_optimiser_from_config(config);
    assert_int_equal(optimiser.kind, SL_OPTIMISER_SGD);
    assert_ptr_equal(optimiser.kernels, ps_kernels_best());
    assert_true(optimiser.clip_norm == 1.0 && fabs(optimiser.weight_decay - 0.05) < 1e-8);
    sl_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_same_bits_everywhere),
            cmocka_unit_test(test_follows_formulas),
            cmocka_unit_test(test_what_a_constant_coefficient_leaves),
            cmocka_unit_test(test_no_subnormals),
            cmocka_unit_test(test_sums),
            cmocka_unit_test(test_sums_beyond_float),
            cmocka_unit_test(test_sums_while_adding),
            cmocka_unit_test(test_changes),
            cmocka_unit_test(test_clip),
            cmocka_unit_test(test_from_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
