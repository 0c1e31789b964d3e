/* What `top` draws, as text: sizes from tiny to large, curves in dots and letters, hostile texts, history from a file. */
#include "deploy/watch/screen.h"

#include "common/file.h"
#include "common/memory.h"
#include "deploy/watch/words.h"

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define METRICS "test_screen.jsonl"

static char *branches[] = {"visual", "text", "fused"};

static void put_step(struct dp_trail *history, int64_t number, double loss)
{
    double losses[] = {loss, loss / 2, loss / 4}, ratios[] = {1.1, 0.9}, coefficients[] = {0.8, 1.0};
    double updates[] = {0.5, 0.25, 0.125}, sizes[] = {100.0, 10.0, 1.0};
    Shelflife__Status__Step step = SHELFLIFE__STATUS__STEP__INIT;
    step.step = number;
    step.n_loss = 3;
    step.loss = losses;
    step.n_ratio = step.n_coefficient = 2;
    step.ratio = ratios;
    step.coefficient = coefficients;
    step.n_branch_update_norm = step.n_branch_parameter_norm = 3;
    step.branch_update_norm = updates;
    step.branch_parameter_norm = sizes;
    dp_trail_add(history, &step);
}

/* Everything at once, with a name and an event that would like to rule the terminal. */
struct sample {
    Shelflife__Status__Status status;
    Shelflife__Status__Run run;
    Shelflife__Status__Step step;
    Shelflife__Status__Worker workers[40], *worker_pointers[40];
    Shelflife__Status__Server server, *server_pointer;
    Shelflife__Status__Validation validation;
    Shelflife__Status__Branch figures[3], *figure_pointers[3];
    Shelflife__Status__Event event, *event_pointer;
    struct dp_trail history;
    double losses[3], coefficients[2], updates[3], sizes[3];
};

static void make_sample(struct sample *s)
{
    *s = (struct sample){.status = SHELFLIFE__STATUS__STATUS__INIT,
            .run = SHELFLIFE__STATUS__RUN__INIT,
            .step = SHELFLIFE__STATUS__STEP__INIT,
            .event = SHELFLIFE__STATUS__EVENT__INIT,
            .server = SHELFLIFE__STATUS__SERVER__INIT,
            .validation = SHELFLIFE__STATUS__VALIDATION__INIT,
            .losses = {0.5, 0.25, 0.125},
            .coefficients = {0.8, 1.0},
            .updates = {0.5, 0.25, 0.125},
            .sizes = {100.0, 10.0, 0.5}};
    s->run.name = "rün\x1b[2J";
    s->run.n_branches = 3;
    s->run.branches = branches;
    s->run.total_steps = 400;
    s->run.steps_per_epoch = 40;
    s->run.epochs = 10;
    s->step.step = 100;
    s->step.n_loss = 3;
    s->step.loss = s->losses;
    s->step.n_coefficient = 2;
    s->step.coefficient = s->coefficients;
    s->step.n_branch_update_norm = s->step.n_branch_parameter_norm = 3;
    s->step.branch_update_norm = s->updates;
    s->step.branch_parameter_norm = s->sizes;
    for (int w = 0; w < 40; w++) {
        shelflife__status__worker__init(&s->workers[w]);
        s->workers[w].rank = (uint32_t)w;
        s->workers[w].host = "host";
        s->workers[w].pid = 1000 + (uint32_t)w;
        s->worker_pointers[w] = &s->workers[w];
    }
    s->server_pointer = &s->server;
    s->validation.step = 90;
    for (int b = 0; b < 3; b++) {
        shelflife__status__branch__init(&s->figures[b]);
        s->figures[b].loss = b + 1.5;
        s->figures[b].accuracy = 0.25 * (b + 1);
        s->figure_pointers[b] = &s->figures[b];
    }
    s->validation.n_branch = 3;
    s->validation.branch = s->figure_pointers;
    s->event.name = "worker-lost";
    s->event.text = "bad \x9b bytes \xff and \n lines";
    s->event_pointer = &s->event;
    s->status.state = "training";
    s->status.run = &s->run;
    s->status.last_step = &s->step;
    s->status.step = 100;
    s->status.n_workers = 40;
    s->status.workers = s->worker_pointers;
    s->status.n_servers = 1;
    s->status.servers = &s->server_pointer;
    s->status.last_validation = &s->validation;
    s->status.n_events = 1;
    s->status.events = &s->event_pointer;
    for (int i = 1; i <= 100; i++)
        put_step(&s->history, i, 200.0 / i);
}

static void draw(
        struct dp_canvas *canvas, const struct sample *s, int scroll, enum sl_run_life life, const char *text)
{
    struct dp_screen screen = {.status = &s->status,
            .history = &s->history,
            .life = life,
            .text = text,
            .place = "runs/first",
            .scroll = scroll};
    dp_screen_draw(canvas, &screen);
}

/* The whole screen as one text. Owns: sl_free it. */
static char *text_of(const struct dp_canvas *canvas)
{
    size_t row_size = 4 * (size_t)canvas->columns + 2, used = 0;
    char *text = sl_alloc((size_t)canvas->rows, row_size);
    assert_non_null(text);
    for (int r = 0; r < canvas->rows; r++) {
        dp_canvas_row(canvas, r, text + used);
        used += strlen(text + used);
        text[used++] = '\n';
    }
    return text;
}

static void expect(const struct dp_canvas *canvas, const char *words, bool there)
{
    SL_AUTO_FREE char *text = text_of(canvas);
    if ((strstr(text, words) != NULL) != there)
        fail_msg("'%s' is %s on the screen:\n%s", words, there ? "not" : "", text);
    for (const char *at = text; *at != 0; at++)
        assert_true((unsigned char)*at >= ' ' || *at == '\n');
}

static void test_usual_size(void **state)
{
    (void)state;
    struct sample s;
    struct dp_canvas canvas = {0};
    make_sample(&s);
    assert_true(dp_canvas_resize(&canvas, 24, 80));
    draw(&canvas, &s, 0, SL_LIFE_LIVE, "training");
    expect(&canvas, "rün?[2J", true); /* the escape is no escape any more */
    expect(&canvas, "step 100 of 400 (25 %)  epoch 3 of 10", true);
    expect(&canvas, "loss visual", false); /* no room for names: letters */
    expect(&canvas, "loss v 0.50 t 0.25 f 0.12", true);
    expect(&canvas, "coeff v 0.80 t 1.00", true);
    expect(&canvas, "validation at 90  v 1.50 acc 0.25  t 2.50 acc 0.50  f 3.50 acc 0.75", true);
    expect(&canvas, "queue  update  heard   memory", true);
    expect(&canvas, "host:1000", true);
    expect(&canvas, "more", true);
    expect(&canvas, "worker-lost  bad ? bytes ? and ? lines", true);
    expect(&canvas, "q quit", true);
    expect(&canvas, "⠒", true);
    draw(&canvas, &s, 5, SL_LIFE_LIVE, "training");
    expect(&canvas, "host:1000", false);
    expect(&canvas, "host:1005", true);
    draw(&canvas, &s, 0, SL_LIFE_QUIET, "no news for 12 s");
    expect(&canvas, "no news for 12 s", true);
    canvas.letters = true;
    draw(&canvas, &s, 0, SL_LIFE_LIVE, "training");
    expect(&canvas, "⠒", false);
    expect(&canvas, "vvv", true);
    canvas.ascii = true;
    draw(&canvas, &s, 0, SL_LIFE_LIVE, "training");
    expect(&canvas, "r?n", true);
    dp_canvas_fini(&canvas);
    dp_trail_fini(&s.history);
}

static void test_every_size(void **state)
{
    (void)state;
    struct sample s;
    struct dp_canvas canvas = {0};
    make_sample(&s);
    for (int rows = 1; rows <= 70; rows += 3)
        for (int columns = 1; columns <= 210; columns += 7)
            for (int letters = 0; letters < 2; letters++) {
                canvas.letters = letters != 0;
                assert_true(dp_canvas_resize(&canvas, rows, columns));
                draw(&canvas, &s, 39, SL_LIFE_GONE, "this run is gone");
            }
    assert_true(dp_canvas_resize(&canvas, 60, 200));
    draw(&canvas, &s, 0, SL_LIFE_LIVE, "training");
    expect(&canvas, "loss visual 0.5000 text 0.2500 fused 0.1250", true);
    expect(&canvas, "update visual 0.0050 text 0.0250 fused 0.2500", true);
    expect(&canvas, "coefficient visual 0.8000 text 1.0000", true);
    expect(&canvas, "validation at 90  visual 1.5000 acc 0.2500  text 2.5000 acc 0.5000", true);
    expect(&canvas, "host:1030", true);
    assert_true(dp_canvas_resize(&canvas, 12, 40));
    draw(&canvas, &s, 0, SL_LIFE_LIVE, "training");
    expect(&canvas, "step 100 of 400", true);
    expect(&canvas, "host:1000", true);
    dp_canvas_fini(&canvas);
    dp_trail_fini(&s.history);
}

static void test_before_the_first_status(void **state)
{
    (void)state;
    struct dp_canvas canvas = {0};
    struct dp_trail history = {0};
    struct dp_screen screen = {
            .history = &history, .text = "connecting to tcp://127.0.0.1:9", .place = "runs/first"};
    assert_true(dp_canvas_resize(&canvas, 24, 80));
    dp_screen_draw(&canvas, &screen);
    expect(&canvas, "runs/first  connecting to tcp://127.0.0.1:9", true);
    expect(&canvas, "its past", false);
    screen.life = SL_LIFE_FINISHED;
    screen.text = "finished: all steps are done";
    dp_screen_draw(&canvas, &screen);
    expect(&canvas, "runs/first  finished: all steps are done", true);
    expect(&canvas, "its past: shelflife dashboard, with the run's folder", true);
    dp_canvas_fini(&canvas);
}

static void test_curves(void **state)
{
    (void)state;
    struct dp_canvas canvas = {0};
    double rising[8] = {0, 1, 2, 3, 4, 5, 6, 7}, gap[8] = {7, NAN, NAN, NAN, NAN, NAN, NAN, 0};
    struct dp_box box = {0, 0, 2, 4};
    char row[64];
    assert_true(dp_canvas_resize(&canvas, 2, 4));
    assert_int_equal(dp_plot_places(&canvas, 4), 8);
    dp_plot(&canvas, &box, &(struct dp_curve){rising, 'r', 0}, 1, 0, 7);
    dp_canvas_row(&canvas, 0, row);
    assert_string_equal(row, "  ⡠⠊");
    dp_canvas_row(&canvas, 1, row);
    assert_string_equal(row, "⡠⠊");
    assert_true(dp_canvas_resize(&canvas, 2, 4));
    dp_plot(&canvas, &box, &(struct dp_curve){gap, 'g', 0}, 1, 0, 7);
    dp_canvas_row(&canvas, 0, row);
    assert_string_equal(row, "⠁");
    dp_canvas_row(&canvas, 1, row);
    assert_string_equal(row, "   ⢀");
    dp_canvas_fini(&canvas);
}

static void test_history(void **state)
{
    (void)state;
    struct dp_trail history = {0};
    struct sl_error err;
    double low = 0, high = 0, values[4];
    char *names[] = {"visual", "text", "fused"};
    Shelflife__Status__Run run = SHELFLIFE__STATUS__RUN__INIT;
    run.n_branches = 3;
    run.branches = names;
    static const char text[] =
            "{\"kind\":\"step\",\"step\":1,\"loss\":{\"visual\":8,\"text\":null}}\n"
            "{\"kind\":\"event\",\"step\":1}\nrubbish\n"
            "{\"kind\":\"step\",\"step\":2,\"loss\":{\"visual\":6},\"update_norm\":{\"visual\":1},"
            "\"parameter_norm\":{\"visual\":8}}\n{\"kind\":\"step\",\"step\":3";
    assert_int_equal(sl_file_write_atomic(METRICS, text, strlen(text), &err), SL_OK);
    dp_trail_read(&history, METRICS, &run);
    dp_trail_read(&history, "not there", &run);
    assert_int_equal(remove(METRICS), 0);
    assert_int_equal(history.count, 2);
    assert_true(dp_trail_range(&history, DP_TRAIL_LOSS, 3, &low, &high));
    assert_true(low == 6.0 && high == 8.0);
    assert_true(dp_trail_range(&history, DP_TRAIL_UPDATE, 3, &low, &high));
    assert_true(low == 0.125 && high == 0.125);
    put_step(&history, 3, 4.0);
    put_step(&history, 4, 2.0);
    dp_trail_curve(&history, DP_TRAIL_LOSS, 0, 2, values); /* means of two each */
    assert_true(values[0] == 7.0 && values[1] == 3.0);
    dp_trail_curve(&history, DP_TRAIL_LOSS, 1, 4, values);
    assert_true(isnan(values[0]) && isnan(values[1]) && values[2] == 2.0 && values[3] == 1.0);
    put_step(&history, 3, 9.0); /* rolled back: 4 never was */
    assert_int_equal(history.count, 3);
    for (int i = 0; i < 3 * DP_TRAIL_STEPS; i++)
        put_step(&history, 10 + i, 1.0);
    assert_int_equal(history.count, DP_TRAIL_STEPS);
    assert_true(dp_trail_range(&history, DP_TRAIL_LOSS, 1, &low, &high));
    assert_true(low == 1.0 && high == 1.0);
    dp_trail_fini(&history);
    assert_false(dp_trail_range(&history, DP_TRAIL_LOSS, 3, &low, &high));
}

static void test_words(void **state)
{
    (void)state;
    char text[DP_WORD_MAX];
    assert_string_equal(dp_bytes(text, 0), "0 B");
    assert_string_equal(dp_bytes(text, 999), "999 B");
    assert_string_equal(dp_bytes(text, 1234567), "1.23 MB");
    assert_string_equal(dp_bytes(text, 999999), "1.00 MB");
    assert_string_equal(dp_count(text, 12), "12");
    assert_string_equal(dp_count(text, UINT64_MAX), "18,446,744,073,709,551,615");
    assert_string_equal(dp_span(text, 0.0152), "15 ms");
    assert_string_equal(dp_span(text, 7.25), "7.2 s");
    assert_string_equal(dp_span(text, NAN), "-");
    assert_string_equal(dp_span(text, -1), "-");
    assert_string_equal(dp_figure(text, 0.01891), "0.0189");
    assert_string_equal(dp_figure(text, 1e-7), "1.0e-07");
    assert_string_equal(dp_figure(text, INFINITY), "-");
    assert_string_equal(dp_brief(text, 0.0326), "0.033");
    assert_string_equal(dp_clean(text, 6, "abcdefgh"), "abcde");
    assert_string_equal(dp_clean(text, 4, "aéé"), "aé"); /* not half a letter */
    assert_string_equal(dp_clean(text, sizeof(text), NULL), "");
}

int main(void)
{
    (void)setlocale(LC_CTYPE, "C.UTF-8");
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_usual_size), cmocka_unit_test(test_every_size),
            cmocka_unit_test(test_before_the_first_status), cmocka_unit_test(test_curves),
            cmocka_unit_test(test_history), cmocka_unit_test(test_words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
