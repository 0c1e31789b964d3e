/* Progress output against a clock that the test turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/progress.h"
#include "common/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t fake_now_us;

static int64_t fake_clock(void)
{
    return fake_now_us;
}

/* what was written since the stream was opened */
struct capture {
    char *text;
    size_t size;
    FILE *stream;
};

static void open_capture(struct capture *capture)
{
    fake_now_us = 1000000;
    capture->stream = open_memstream(&capture->text, &capture->size);
    assert_non_null(capture->stream);
}

static void close_capture(struct capture *capture)
{
    (void)fclose(capture->stream);
    free(capture->text);
}

static const char *last_line(const struct capture *capture)
{
    const char *at = strrchr(capture->text, '\r');
    return at == NULL ? capture->text : at;
}

static void test_bar(void **state)
{
    (void)state;
    struct capture capture;
    open_capture(&capture);
    struct sl_progress progress;
    sl_progress_begin(&progress, &(struct sl_progress_options){.title = "train",
                                         .unit = "samples",
                                         .scale = 64,
                                         .total = 200,
                                         .stream = capture.stream,
                                         .mode = SL_PROGRESS_BAR,
                                         .columns = 80,
                                         .now_us = fake_clock});
    progress.color = false;
    fake_now_us += 10000000;
    sl_progress_update(&progress, 50, "loss %.3f", 0.4123);
    /* 50 steps in 10 s are 5 steps/s; 150 are left */
    assert_string_equal(last_line(&capture),
            "\r\033[Ktrain ▕█████▊                 ▏  25 % 50/200 loss 0.412 320 samples/s ETA 00:30");
    size_t size = capture.size;
    fake_now_us += 50000;
    sl_progress_update(&progress, 51, NULL); /* too early for another line */
    assert_int_equal(capture.size, size);
    fake_now_us += 9950000;
    sl_progress_update(&progress, 200, NULL);
    assert_non_null(strstr(last_line(&capture), "██▏ 100 % 200/200 loss 0.412"));
    sl_progress_end(&progress);
    assert_string_equal(last_line(&capture), "\r\033[Ktrain 200/200 loss 0.412 640 samples/s in 00:20\n");
    size = capture.size;
    sl_progress_end(&progress);
    sl_progress_update(&progress, 1, NULL);
    assert_int_equal(capture.size, size);
    close_capture(&capture);
}

static void test_bar_fits_any_width(void **state)
{
    (void)state;
    for (int columns = 20; columns < 140; columns++) {
        struct capture capture;
        open_capture(&capture);
        struct sl_progress progress;
        sl_progress_begin(&progress, &(struct sl_progress_options){.title = "导入",
                                             .unit = "videos",
                                             .total = 100000,
                                             .stream = capture.stream,
                                             .mode = SL_PROGRESS_BAR,
                                             .columns = columns,
                                             .now_us = fake_clock});
        progress.color = false;
        fake_now_us += 1000000;
        sl_progress_update(&progress, 33333, "a note that is rather long 你好");
        const char *line = last_line(&capture) + strlen("\r\033[K");
        if (sl_utf8_columns(line) > columns - 1)
            fail_msg("%d columns in a terminal of %d: %s", sl_utf8_columns(line), columns, line);
        sl_progress_end(&progress);
        close_capture(&capture);
    }
}

static void test_ascii(void **state)
{
    (void)state;
    struct capture capture;
    open_capture(&capture);
    struct sl_progress progress;
    sl_progress_begin(&progress, &(struct sl_progress_options){.title = "import",
                                         .total = 4,
                                         .stream = capture.stream,
                                         .mode = SL_PROGRESS_ASCII,
                                         .columns = 38,
                                         .now_us = fake_clock});
    fake_now_us += 100000;
    sl_progress_update(&progress, 2, NULL);
    assert_string_equal(last_line(&capture), "\r\033[Kimport [#########         ]  50 % 2/4");
    sl_progress_end(&progress);
    close_capture(&capture);
}

static void test_plain(void **state)
{
    (void)state;
    struct capture capture;
    open_capture(&capture);
    struct sl_progress progress;
    sl_progress_begin(&progress, &(struct sl_progress_options){.title = "import",
                                         .unit = "videos",
                                         .total = 100,
                                         .stream = capture.stream,
                                         .mode = SL_PROGRESS_PLAIN,
                                         .now_us = fake_clock});
    for (int i = 1; i <= 100; i++) {
        fake_now_us += 300000;
        sl_progress_update(&progress, i, NULL);
    }
    sl_progress_end(&progress);
    assert_string_equal(capture.text, "import 34 % 34/100 3.33 videos/s ETA 00:20\n"
                                      "import 68 % 68/100 3.33 videos/s ETA 00:10\n"
                                      "import 100/100 3.33 videos/s in 00:30\n");
    close_capture(&capture);
}

static void test_resumed_and_unknown_total(void **state)
{
    (void)state;
    struct capture capture;
    open_capture(&capture);
    struct sl_progress progress;
    sl_progress_begin(&progress, &(struct sl_progress_options){.title = "import",
                                         .unit = "videos",
                                         .total = 1000,
                                         .done = 900,
                                         .stream = capture.stream,
                                         .mode = SL_PROGRESS_PLAIN,
                                         .now_us = fake_clock});
    fake_now_us += 10000000;
    sl_progress_update(&progress, 910, NULL);
    sl_progress_end(&progress);
    assert_string_equal(capture.text,
            "import 91 % 910/1000 1.00 videos/s ETA 01:30\nimport 910/1000 1.00 videos/s in 00:10\n");
    close_capture(&capture);
    open_capture(&capture);
    sl_progress_begin(&progress, &(struct sl_progress_options){.title = "read",
                                         .unit = "rows",
                                         .stream = capture.stream,
                                         .mode = SL_PROGRESS_PLAIN,
                                         .now_us = fake_clock});
    fake_now_us += 10000000;
    sl_progress_update(&progress, 70, NULL);
    sl_progress_end(&progress);
    assert_string_equal(capture.text, "read 70 7.00 rows/s\nread 70 7.00 rows/s in 00:10\n");
    close_capture(&capture);
}

static void test_none_and_detection(void **state)
{
    (void)state;
    struct capture capture;
    open_capture(&capture);
    struct sl_progress progress;
    assert_int_equal(setenv("SHELFLIFE_PROGRESS", "none", 1), 0);
    sl_progress_begin(
            &progress, &(struct sl_progress_options){
                               .title = "x", .total = 3, .stream = capture.stream, .now_us = fake_clock});
    fake_now_us += 100000000;
    sl_progress_update(&progress, 3, "%s", "note");
    sl_progress_end(&progress);
    assert_int_equal(fflush(capture.stream), 0);
    assert_int_equal(capture.size, 0);
    close_capture(&capture);
    assert_int_equal(unsetenv("SHELFLIFE_PROGRESS"), 0);
    FILE *file = tmpfile(); /* no terminal */
    assert_non_null(file);
    assert_int_equal(setenv("TERM", "xterm", 1), 0);
    sl_progress_begin(&progress, &(struct sl_progress_options){.stream = file});
    assert_int_equal(progress.mode, SL_PROGRESS_PLAIN);
    assert_int_equal(setenv("SHELFLIFE_PROGRESS", "bar", 1), 0);
    assert_int_equal(setenv("LC_ALL", "C.UTF-8", 1), 0);
    assert_int_equal(unsetenv("NO_COLOR"), 0);
    sl_progress_begin(&progress, &(struct sl_progress_options){.stream = file});
    assert_int_equal(progress.mode, SL_PROGRESS_BAR);
    assert_true(progress.color);
    assert_int_equal(setenv("NO_COLOR", "1", 1), 0);
    assert_int_equal(setenv("LC_ALL", "C", 1), 0);
    sl_progress_begin(&progress, &(struct sl_progress_options){.stream = file});
    assert_int_equal(progress.mode, SL_PROGRESS_ASCII);
    assert_false(progress.color);
    assert_int_equal(unsetenv("SHELFLIFE_PROGRESS"), 0);
    (void)fclose(file);
}

static void test_times(void **state)
{
    (void)state;
    char text[32];
    assert_string_equal(sl_progress_time(text, 0.4), "00:00");
    assert_string_equal(sl_progress_time(text, 751), "12:31");
    assert_string_equal(sl_progress_time(text, 3599.7), "1:00:00");
    assert_string_equal(sl_progress_time(text, 90061), "1 d 01 h");
    assert_string_equal(sl_progress_time(text, 1e30), "> 999 d");
    assert_string_equal(sl_progress_time(text, -1), "00:00");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_bar),
            cmocka_unit_test(test_bar_fits_any_width),
            cmocka_unit_test(test_ascii),
            cmocka_unit_test(test_plain),
            cmocka_unit_test(test_resumed_and_unknown_total),
            cmocka_unit_test(test_none_and_detection),
            cmocka_unit_test(test_times),
    };
    return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
