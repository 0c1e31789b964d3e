/* The decoder process: frames at even times, distinct ones only, every kind of bad file told apart, limits, and that it comes back when it dies. */
#include "tests/unit/dataset/fixture.h"
#include "worker/dataset/decoder.h"

#include <signal.h>
#include <sys/stat.h>

static char *folder;

static int set_up(void **state)
{
    (void)state;
    const char *programs = getenv("SHELFLIFE_BIN");
    char *program = sl_strdup_printf("%s/shelflife-decode", programs != NULL ? programs : ".");
    if (program == NULL || access(program, X_OK) != 0) {
        print_message("skipped: %s is not built\n", program);
        exit(0);
    }
    (void)setenv("SHELFLIFE_DECODE", program, 1);
    sl_free(program);
    folder = fixture_folder("decoder");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_remove(folder);
    return 0;
}

static struct wk_decoder *start(const struct wk_decoder_limits *limits)
{
    struct wk_decoder *decoder = NULL;
    assert_ok(wk_decoder_create(&decoder, limits, &fixture_error));
    return decoder;
}

/* The grey level of a frame, whose pixels must all be about the same. */
static int level_of(const struct wk_clip *clip, int frame, int image)
{
    size_t size = (size_t)image * (size_t)image * 3;
    const uint8_t *pixels = clip->frames + (size_t)frame * size;
    for (size_t i = 0; i < size; i++)
        assert_in_range(pixels[i], pixels[0] - 2, pixels[0] + 2);
    return pixels[0];
}

static void test_frames_lie_at_the_centres_of_even_parts(void **state)
{
    (void)state;
    fixture_video(folder, "ramp.avi", 40);
    char *path = fixture_path(folder, "ramp.avi");
    struct wk_decoder *decoder = start(NULL);
    struct wk_clip clip = {0};
    assert_ok(wk_decoder_run(decoder, path, 24, 4, &clip, &fixture_error));
    assert_int_equal(clip.items, 4);
    assert_int_equal(clip.width, 64);
    assert_int_equal(clip.duration_us, 4000000);
    assert_string_equal(clip.codec, "mjpeg");
    for (int k = 0; k < 4; k++) { /* 4 s: centres at 0.5, 1.5, 2.5, 3.5 s, pictures 5, 15, 25, 35 */
        assert_int_equal(clip.time_us[k], 500000 + 1000000 * k);
        int level = level_of(&clip, k, 24), expected = fixture_ramp((uint32_t)(5 + 10 * k));
        assert_in_range(level, expected - 3, expected + 3);
    }
    wk_clip_fini(&clip);
    wk_decoder_destroy(decoder);
    sl_free(path);
}

/* A picture every second: the decoder seeks from one wanted frame to the next. */
static void test_long_clips_are_sought_through(void **state)
{
    (void)state;
    struct fixture_bytes avi = fixture_avi(64, 1, 40, fixture_ramp);
    fixture_write(folder, "long.avi", avi.bytes, avi.size);
    fixture_write(folder, "long-cut.avi", avi.bytes, avi.size / 10 * 8);
    sl_free(avi.bytes);
    char *path = fixture_path(folder, "long.avi"), *cut = fixture_path(folder, "long-cut.avi");
    struct wk_decoder *decoder = start(NULL);
    struct wk_clip clip = {0};
    assert_ok(wk_decoder_run(decoder, path, 16, 4, &clip, &fixture_error));
    assert_int_equal(clip.items, 4);
    for (int k = 0; k < 4; k++) {
        assert_int_equal(clip.time_us[k], 5000000 + 10000000 * k);
        int level = level_of(&clip, k, 16), expected = fixture_ramp((uint32_t)(5 + 10 * k));
        assert_in_range(level, expected - 3, expected + 3);
    }
    wk_clip_fini(&clip);
    assert_error(wk_decoder_run(decoder, cut, 16, 4, &clip, &fixture_error), SL_BAD_DATA, "cut off");
    wk_decoder_destroy(decoder);
    sl_free(path);
    sl_free(cut);
}

static void test_short_clips_give_each_picture_once(void **state)
{
    (void)state;
    fixture_video(folder, "three.avi", 3);
    fixture_video(folder, "one.avi", 1);
    char *three = fixture_path(folder, "three.avi"), *one = fixture_path(folder, "one.avi");
    struct wk_decoder *decoder = start(NULL);
    struct wk_clip clip = {0};
    assert_ok(wk_decoder_run(decoder, three, 16, 8, &clip, &fixture_error));
    assert_int_equal(clip.items, 3);
    for (int k = 0; k < 3; k++)
        assert_in_range(level_of(&clip, k, 16), fixture_ramp((uint32_t)k) - 3, fixture_ramp((uint32_t)k) + 3);
    wk_clip_fini(&clip);
    assert_ok(wk_decoder_run(decoder, one, 16, 8, &clip, &fixture_error));
    assert_int_equal(clip.items, 1);
    wk_clip_fini(&clip);
    wk_decoder_destroy(decoder);
    sl_free(three);
    sl_free(one);
}

static void test_still_images_are_clips_of_one_picture(void **state)
{
    (void)state;
    uint8_t pixels[40 * 40 * 3];
    memset(pixels, 77, sizeof(pixels));
    char *png = fixture_path(folder, "still.png"), *jpg = fixture_path(folder, "still.jpg");
    assert_ok(wk_png_write(png, pixels, 40, 40, &fixture_error));
    uint8_t *jpeg = NULL;
    size_t size = 0;
    assert_ok(wk_jpeg_encode(&jpeg, &size, pixels, 40, 90, &fixture_error));
    fixture_write(folder, "still.jpg", jpeg, size);
    sl_free(jpeg);
    struct wk_decoder *decoder = start(NULL);
    const char *const paths[] = {png, jpg};
    for (int i = 0; i < 2; i++) {
        struct wk_clip clip = {0};
        assert_ok(wk_decoder_run(decoder, paths[i], 16, 4, &clip, &fixture_error));
        assert_int_equal(clip.items, 1);
        assert_in_range(level_of(&clip, 0, 16), 74, 80);
        wk_clip_fini(&clip);
    }
    wk_decoder_destroy(decoder);
    sl_free(png);
    sl_free(jpg);
}

static void reject(struct wk_decoder *decoder, const char *name, const char *reason)
{
    char *path = fixture_path(folder, name);
    struct wk_clip clip = {0};
    assert_error(wk_decoder_run(decoder, path, 16, 4, &clip, &fixture_error), SL_BAD_DATA, reason);
    assert_null(strchr(fixture_error.text, '\n'));
    sl_free(path);
}

static void test_bad_files_are_told_apart(void **state)
{
    (void)state;
    struct fixture_bytes avi = fixture_avi(64, 10, 40, fixture_ramp);
    fixture_write(folder, "empty.avi", "", 0);
    fixture_text(folder, "text.mp4", "This is not a video, whatever its name says.\n");
    fixture_write(folder, "cut.avi", avi.bytes, avi.size / 2);
    fixture_write(folder, "stub.avi", avi.bytes, 100);
    for (size_t i = 400; i < avi.size - 800; i++) /* all pictures turned to noise, the container left alone */
        avi.bytes[i] =
                memcmp(avi.bytes + i, "00dc", 4) == 0 ? avi.bytes[i] : (uint8_t)(avi.bytes[i] ^ (i * 7 + 13));
    fixture_write(folder, "noise.avi", avi.bytes, avi.size);
    fixture_text(folder, "list.m3u8",
            "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n/etc/passwd\n#EXT-X-ENDLIST\n");
    fixture_text(folder, "list.ffconcat", "ffconcat version 1.0\nfile cut.avi\n");
    char *pipe = fixture_path(folder, "pipe");
    assert_int_equal(mkfifo(pipe, 0600), 0);
    struct wk_decoder *decoder = start(NULL);
    reject(decoder, "absent.mp4", "No such file");
    reject(decoder, "", "is a folder");
    reject(decoder, "pipe", "not a regular file");
    reject(decoder, "empty.avi", "is empty");
    reject(decoder, "text.mp4", "not a video");
    reject(decoder, "cut.avi", "cut off: it states 4.0 s");
    reject(decoder, "stub.avi", "");
    reject(decoder, "noise.avi", "");
    reject(decoder, "list.m3u8", "a list of other files");
    reject(decoder, "list.ffconcat", "a list of other files");
    reject(decoder, "vocab.txt", "No such file");
    wk_decoder_destroy(decoder);
    sl_free(avi.bytes);
    sl_free(pipe);
}

static void test_limits_are_reasons(void **state)
{
    (void)state;
    fixture_video(folder, "limits.avi", 400);
    char *path = fixture_path(folder, "limits.avi");
    struct wk_clip clip = {0};
    struct wk_decoder *decoder = start(&(struct wk_decoder_limits){.wall_ms = 1});
    assert_error(wk_decoder_run(decoder, path, 512, 100, &clip, &fixture_error), SL_BAD_DATA,
            "took longer than 1 s");
    wk_decoder_destroy(decoder);
    decoder = start(&(struct wk_decoder_limits){.wall_ms = 60000});
    assert_error(wk_decoder_run(decoder, path, 4096, 1024, &clip, &fixture_error), SL_USAGE,
            "more than the decoder gives");
    assert_ok(wk_decoder_run(decoder, path, 16, 4, &clip, &fixture_error)); /* and it still works */
    assert_int_equal(clip.items, 4);
    wk_clip_fini(&clip);
    wk_decoder_destroy(decoder);
    sl_free(path);
}

static void test_pictures_over_the_limit_are_refused(void **state)
{
    (void)state;
    struct fixture_bytes avi = fixture_avi(1200, 5, 2, fixture_ramp);
    fixture_write(folder, "large.avi", avi.bytes, avi.size);
    sl_free(avi.bytes);
    char *path = fixture_path(folder, "large.avi");
    struct wk_clip clip = {0};
    struct wk_decoder *decoder = start(&(struct wk_decoder_limits){.max_megapixels = 1});
    assert_int_equal(wk_decoder_run(decoder, path, 16, 2, &clip, &fixture_error), SL_BAD_DATA);
    wk_decoder_destroy(decoder);
    decoder = start(&(struct wk_decoder_limits){.max_megapixels = 2});
    assert_ok(wk_decoder_run(decoder, path, 16, 2, &clip, &fixture_error));
    wk_clip_fini(&clip);
    wk_decoder_destroy(decoder);
    sl_free(path);
}

/* The only process that has this one as its parent is the decoder. */
static pid_t find_child(void)
{
    char *path = sl_strdup_printf("/proc/self/task/%d/children", getpid());
    FILE *file = fopen(path, "r");
    long pid = 0;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld", &pid), 1);
    (void)fclose(file);
    sl_free(path);
    return (pid_t)pid;
}

static void test_a_dead_decoder_is_started_again(void **state)
{
    (void)state;
    fixture_video(folder, "again.avi", 5);
    char *path = fixture_path(folder, "again.avi");
    struct wk_decoder *decoder = start(NULL);
    for (int i = 0; i < 2; i++) {
        struct wk_clip clip = {0};
        assert_ok(wk_decoder_run(decoder, path, 16, 2, &clip, &fixture_error));
        wk_clip_fini(&clip);
        assert_int_equal(kill(find_child(), SIGKILL), 0);
    }
    wk_decoder_destroy(decoder);
    sl_free(path);
}

static void test_a_missing_program_is_no_fault_of_the_file(void **state)
{
    (void)state;
    char *kept = sl_strdup(getenv("SHELFLIFE_DECODE"));
    (void)setenv("SHELFLIFE_DECODE", "/nowhere/shelflife-decode", 1);
    struct wk_decoder *decoder = NULL;
    assert_error(wk_decoder_create(&decoder, NULL, &fixture_error), SL_FAILED, "SHELFLIFE_DECODE");
    (void)setenv("SHELFLIFE_DECODE", "/bin/true", 1);
    struct wk_clip clip = {0};
    assert_ok(wk_decoder_create(&decoder, NULL, &fixture_error));
    assert_error(wk_decoder_run(decoder, "x.mp4", 16, 2, &clip, &fixture_error), SL_FAILED, "died twice");
    wk_decoder_destroy(decoder);
    (void)setenv("SHELFLIFE_DECODE", kept, 1);
    sl_free(kept);
}

static void test_real_mpeg_files(void **state)
{
    (void)state;
    const char *shared = getenv("SHELFLIFE_SHARED");
    char *path = sl_strdup_printf("%s/data/grid_s1/mpg/brwt7a.mpg", shared != NULL ? shared : "../shared");
    if (sl_file_size(path) < 0) {
        print_message("skipped: %s is not there\n", path);
        sl_free(path);
        skip();
        return;
    }
    struct wk_decoder *decoder = start(NULL);
    struct wk_clip clip = {0};
    assert_ok(wk_decoder_run(decoder, path, 48, 8, &clip, &fixture_error));
    assert_int_equal(clip.items, 8);
    assert_int_equal(clip.width, 360);
    assert_int_equal(clip.height, 288);
    assert_string_equal(clip.codec, "mpeg1video");
    for (int k = 0; k < 8;
            k++) { /* 75 pictures at 25 per second: the picture shown at (k + 1/2) / 8 of 3 s */
        int64_t centre = 187500 + 375000 * (int64_t)k;
        assert_in_range(clip.time_us[k], centre - 40000, centre);
    }
    /* one frame of 3 s is sought, three are read in order: the middle one is the same picture */
    struct wk_clip one = {0}, three = {0};
    assert_ok(wk_decoder_run(decoder, path, 48, 1, &one, &fixture_error));
    assert_ok(wk_decoder_run(decoder, path, 48, 3, &three, &fixture_error));
    assert_int_equal(one.time_us[0], three.time_us[1]);
    assert_memory_equal(one.frames, three.frames + 48 * 48 * 3, 48 * 48 * 3);
    wk_clip_fini(&one);
    wk_clip_fini(&three);
    wk_clip_fini(&clip);
    wk_decoder_destroy(decoder);
    sl_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_frames_lie_at_the_centres_of_even_parts),
            cmocka_unit_test(test_long_clips_are_sought_through),
            cmocka_unit_test(test_short_clips_give_each_picture_once),
            cmocka_unit_test(test_still_images_are_clips_of_one_picture),
            cmocka_unit_test(test_bad_files_are_told_apart),
            cmocka_unit_test(test_limits_are_reasons),
            cmocka_unit_test(test_pictures_over_the_limit_are_refused),
            cmocka_unit_test(test_a_dead_decoder_is_started_again),
            cmocka_unit_test(test_a_missing_program_is_no_fault_of_the_file),
            cmocka_unit_test(test_real_mpeg_files),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
