/* Safetensors: what is written reads back bit for bit, and every kind of damage is an error that names it. */
#include "common/memory.h"
#include "common/random.h"
#include "common/safetensors.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct sl_error err;

/* a file in memory: 8 bytes of length, the header, data_size bytes 0, 1, 2, … */
static unsigned char image[8192];

static size_t make_image(const char *header, size_t data_size)
{
    uint64_t length = strlen(header);
    assert_true(8 + length + data_size <= sizeof(image));
    memcpy(image, &length, 8);
    memcpy(image + 8, header, length);
    for (size_t i = 0; i < data_size; i++)
        image[8 + length + i] = (unsigned char)i;
    return 8 + length + data_size;
}

/* open_exact opens a copy of just the right size, so that the sanitizer sees a read beyond it. */
static enum sl_status open_exact(size_t size)
{
    void *copy = malloc(size == 0 ? 1 : size);
    assert_non_null(copy);
    memcpy(copy, image, size);
    struct sl_safetensors *file = NULL;
    memset(&err, 0, sizeof(err));
    enum sl_status s = sl_safetensors_open_memory(&file, copy, size, "x.safetensors", &err);
    assert_true((s == SL_OK) == (file != NULL));
    sl_safetensors_close(file);
    free(copy);
    return s;
}

static void expect_bad(const char *header, size_t data_size, const char *says)
{
    enum sl_status s = open_exact(make_image(header, data_size));
    if (s != SL_BAD_DATA || strstr(err.text, says) == NULL || strstr(err.text, "x.safetensors") == NULL)
        fail_msg("header %s: status %s, text \"%s\", expected \"%s\"", header, sl_status_name(s), err.text,
                says);
}

static void test_reads(void **state)
{
    (void)state;
    size_t size = make_image(
            "{\"__metadata__\":{\"format\":\"pt\",\"k\\u00e9y\":\"\\ud83d\\ude00\"}, \"b\": {\"shape\":[2,3],"
            "\"data_offsets\":[4,28],\"dtype\":\"F32\"},\"a\":{\"dtype\":\"U16\",\"shape\":[2],"
            "\"data_offsets\":[0,4]},\"e\":{\"dtype\":\"I64\",\"shape\":[0,9223372036854775807],"
            "\"data_offsets\":[4,4]},\"s\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[28,29]}}   ",
            29);
    struct sl_safetensors *file = NULL;
    assert_int_equal(sl_safetensors_open_memory(&file, image, size, "x", &err), SL_OK);
    assert_int_equal(sl_safetensors_count(file), 4);
    assert_string_equal(sl_safetensors_metadata(file, "format"), "pt");
    assert_string_equal(sl_safetensors_metadata(file, "k\xc3\xa9y"), "\xf0\x9f\x98\x80");
    assert_null(sl_safetensors_metadata(file, "none"));
    assert_string_equal(sl_safetensors_at(file, 0)->name, "b");
    const struct sl_tensor *b = sl_safetensors_find(file, "b"), *s = sl_safetensors_find(file, "s");
    assert_non_null(b);
    assert_int_equal(b->rank, 2);
    assert_int_equal(b->shape[1], 3);
    assert_int_equal(b->count, 6);
    assert_int_equal(s->rank, 0);
    assert_int_equal(s->count, 1);
    assert_int_equal(sl_safetensors_find(file, "e")->count, 0);
    assert_null(sl_safetensors_find(file, "c"));
    assert_null(sl_safetensors_find(file, "__metadata__"));
    int64_t scalar = 0;
    assert_int_equal(sl_safetensors_read_i64(file, s, &scalar, 1, &err), SL_OK);
    assert_int_equal(scalar, 28);
    float values[6];
    assert_int_equal(sl_safetensors_read_f32(file, s, values, 1, &err), SL_BAD_DATA);
    assert_int_equal(sl_safetensors_read_i64(file, b, &scalar, 6, &err), SL_BAD_DATA);
    assert_int_equal(sl_safetensors_read_f32(file, b, values, 5, &err), SL_BAD_DATA);
    assert_int_equal(sl_safetensors_read(file, b, values, 20, &err), SL_BAD_DATA);
    assert_int_equal(sl_safetensors_read(file, b, values, 24, &err), SL_OK);
    assert_memory_equal(values, image + size - 25, 24);
    sl_safetensors_close(file);
}

#define T(name, type, shape, from, to)                                                                       \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":[" shape "],\"data_offsets\":[" #from "," #to "]}"

static void test_refuses(void **state)
{
    (void)state;
    expect_bad("", 0, "expected '{'");
    expect_bad(" {}", 0, "expected '{'");
    expect_bad("[]", 0, "expected '{'");
    expect_bad("{} x", 0, "nothing but spaces");
    expect_bad("{", 0, "quoted text");
    expect_bad("{\"a", 0, "end of a text");
    expect_bad("{\"a\":1}", 0, "'{' of a tensor");
    expect_bad("{" T("a", "F32", "1", 0, 4) ",}", 4, "quoted text");
    expect_bad("{" T("a", "F99", "1", 0, 4) "}", 4, "dtype \"F99\"");
    expect_bad("{" T("a", "F32", "1", 0, 4) "," T("a", "F32", "1", 4, 8) "}", 8, "comes twice");
    expect_bad("{" T("a", "F32", "1", 0, 4) "," T("b", "F32", "1", 0, 4) "}", 4, "overlaps");
    expect_bad("{" T("a", "F32", "1", 0, 4) "," T("b", "F32", "1", 8, 12) "}", 12, "hole");
    expect_bad("{" T("a", "F32", "1", 4, 8) "}", 8, "hole");
    expect_bad("{" T("a", "F32", "1", 0, 4) "}", 8, "4 bytes after the last");
    expect_bad("{" T("a", "F32", "1", 0, 4) "}", 3, "truncated");
    expect_bad("{" T("a", "F32", "2", 0, 4) "}", 4, "do not agree");
    expect_bad("{" T("a", "F32", "1", 4, 0) "}", 4, "in order");
    expect_bad("{" T("a", "F32", "-1", 0, 4) "}", 4, "not negative");
    expect_bad("{" T("a", "F32", "01", 0, 4) "}", 4, "not negative");
    expect_bad("{" T("a", "F32", "1.0", 0, 4) "}", 4, "',' or ']'");
    expect_bad("{" T("a", "F32", "1e0", 0, 4) "}", 4, "',' or ']'");
    expect_bad("{" T("a", "F32", "9223372036854775808", 0, 4) "}", 4, "2^63");
    expect_bad("{" T("a", "F32", "4294967296,4294967296", 0, 0) "}", 0, "do not agree");
    expect_bad("{" T("a", "F32", "1,1,1,1,1,1,1,1,1", 0, 4) "}", 4, "8 dimensions");
    expect_bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 0, "data_offsets");
    expect_bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 0, "two offsets");
    expect_bad("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 0, "each once");
    expect_bad("{\"a\":{\"dtype\":\"F32\",\"extra\":1}}", 0, "each once");
    expect_bad("{\"__metadata__\":{\"a\":1}}", 0, "quoted text");
    expect_bad("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "twice");
    expect_bad("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "only once");
    expect_bad("{\"\\u0000\":{}}", 0, "valid escape");
    expect_bad("{\"\\q\":{}}", 0, "valid escape");
    expect_bad("{\"\\ud800\":{}}", 0, "surrogates");
    expect_bad("{\"\\udc00\":{}}", 0, "surrogates");
    expect_bad("{\"\xff\":{}}", 0, "UTF-8");
    expect_bad("{\"\xc0\x80\":{}}", 0, "UTF-8");
    expect_bad("{\"\xed\xa0\x80\":{}}", 0, "UTF-8");
    expect_bad("{\"a\nb\":{}}", 0, "control character");
}

static void test_refuses_other_formats(void **state)
{
    (void)state;
    memcpy(image, "PK\003\004....", 8);
    assert_int_equal(open_exact(8), SL_BAD_DATA);
    assert_non_null(strstr(err.text, "pickle"));
    memcpy(image, "\x80\x02\x8a\nl\xfc\x9c", 8);
    assert_int_equal(open_exact(8), SL_BAD_DATA);
    assert_non_null(strstr(err.text, "pickle"));
    memcpy(image, "version https", 13);
    assert_int_equal(open_exact(13), SL_BAD_DATA);
    assert_non_null(strstr(err.text, "git lfs pull"));
    for (size_t size = 0; size < 8; size++) {
        memset(image, 0, 8);
        assert_int_equal(open_exact(size), SL_BAD_DATA);
    }
    memset(image, 0xff, 8);
    assert_int_equal(open_exact(16), SL_BAD_DATA);
    assert_non_null(strstr(err.text, "a header of 18446744073709551615 bytes"));
    /* every shorter file is refused */
    size_t size = make_image("{" T("a", "F32", "1", 0, 4) "," T("b", "I8", "3", 4, 7) "}", 7);
    assert_int_equal(open_exact(size), SL_OK);
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(open_exact(cut), SL_BAD_DATA);
}

static void test_converts(void **state)
{
    (void)state;
    /* all halves against what they mean: sign, 5 bits of exponent, 10 of fraction */
    for (uint32_t half = 0; half < 65536; half++) {
        int exponent = (int)(half >> 10 & 31), fraction = (int)(half & 1023);
        double value = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
        if (exponent == 31)
            value = fraction == 0 ? (double)INFINITY : (double)NAN;
        value = half & 0x8000 ? -value : value;
        float got = sl_half_to_float((uint16_t)half);
        if (isnan(value) ? !isnan(got) : (double)got != value || (signbit(got) != 0) != (signbit(value) != 0))
            fail_msg("half %04x: %g, expected %g", half, (double)got, value);
    }
    const uint16_t f16[] = {0x3C00, 0xC000}, bf16[] = {0x3F80, 0xC120};
    const double f64[] = {1.0 / 3, -1e300};
    const int8_t i8[] = {-128, 127};
    const int16_t i16[] = {-32768, 5};
    const int32_t i32[] = {INT32_MIN, INT32_MAX};
    const int64_t i64[] = {INT64_MIN, INT64_MAX};
    const uint64_t u64[] = {0, UINT64_MAX};
    const uint32_t u32[] = {0, UINT32_MAX};
    const struct sl_tensor_view views[] = {{"f16", SL_DTYPE_F16, 1, {2}, f16},
            {"bf16", SL_DTYPE_BF16, 1, {2}, bf16}, {"f64", SL_DTYPE_F64, 1, {2}, f64},
            {"i8", SL_DTYPE_I8, 1, {2}, i8}, {"i16", SL_DTYPE_I16, 1, {2}, i16},
            {"i32", SL_DTYPE_I32, 1, {2}, i32}, {"i64", SL_DTYPE_I64, 1, {2}, i64},
            {"u64", SL_DTYPE_U64, 1, {2}, u64}, {"u32", SL_DTYPE_U32, 1, {2}, u32}};
    char path[] = "test_safetensors_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    struct sl_sink sink = {sl_sink_fd, &fd};
    assert_int_equal(sl_safetensors_write(&sink, views, 9, NULL, 0, &err), SL_OK);
    struct sl_safetensors *file = NULL;
    assert_int_equal(sl_safetensors_open(&file, path, &err), SL_OK);
    float x[2];
    assert_int_equal(sl_safetensors_read_f32(file, sl_safetensors_find(file, "f16"), x, 2, &err), SL_OK);
    assert_true(x[0] == 1.0F && x[1] == -2.0F);
    assert_int_equal(sl_safetensors_read_f32(file, sl_safetensors_find(file, "bf16"), x, 2, &err), SL_OK);
    assert_true(x[0] == 1.0F && x[1] == -10.0F);
    assert_int_equal(sl_safetensors_read_f32(file, sl_safetensors_find(file, "f64"), x, 2, &err), SL_OK);
    assert_true(x[0] == 1.0F / 3 && isinf(x[1]));
    const struct {
        const char *name;
        int64_t first, second;
    } integers[] = {{"i8", -128, 127}, {"i16", -32768, 5}, {"i32", INT32_MIN, INT32_MAX},
            {"i64", INT64_MIN, INT64_MAX}, {"u32", 0, UINT32_MAX}};
    for (size_t i = 0; i < sizeof(integers) / sizeof(integers[0]); i++) {
        int64_t y[2];
        assert_int_equal(
                sl_safetensors_read_i64(file, sl_safetensors_find(file, integers[i].name), y, 2, &err),
                SL_OK);
        assert_true(y[0] == integers[i].first && y[1] == integers[i].second);
    }
    int64_t y[2];
    assert_int_equal(
            sl_safetensors_read_i64(file, sl_safetensors_find(file, "u64"), y, 2, &err), SL_BAD_DATA);
    /* the file shrinks behind the reader's back: an error, no SIGBUS */
    assert_int_equal(ftruncate(fd, 1100), 0);
    assert_int_equal(sl_safetensors_read_i64(file, sl_safetensors_find(file, "u32"), y, 2, &err), SL_OK);
    assert_int_equal(ftruncate(fd, 100), 0);
    assert_int_equal(
            sl_safetensors_read_i64(file, sl_safetensors_find(file, "u32"), y, 2, &err), SL_BAD_DATA);
    assert_non_null(strstr(err.text, "truncated"));
    sl_safetensors_close(file);
    (void)close(fd);
    (void)unlink(path);
    assert_int_equal(sl_safetensors_open(&file, path, &err), SL_NOT_FOUND);
    assert_int_equal(sl_safetensors_open(&file, ".", &err), SL_BAD_DATA);
}

static void test_write_round_trip(void **state)
{
    (void)state;
    float data[1000];
    struct sl_random random = sl_random_make(7, SL_RANDOM_TEST, 0, 0);
    for (uint64_t i = 0; i < 1000; i++)
        data[i] = sl_random_normal(&random, i);
    const struct sl_tensor_view views[] = {
            {"weird \"name\" \\ \x01 \xe6\x97\xb6", SL_DTYPE_F32, 2, {10, 100}, data},
            {"empty", SL_DTYPE_F32, 1, {0}, NULL}, {"scalar", SL_DTYPE_F32, 0, {0}, data + 5}};
    const struct sl_metadata metadata[] = {{"format", "pt"}, {"quote", "\"\n"}};
    char *header = NULL;
    size_t size = 0;
    assert_int_equal(sl_safetensors_header(&header, &size, views, 3, metadata, 2, &err), SL_OK);
    assert_int_equal(size % 8, 0);
    char *all = malloc(size + 4004);
    assert_non_null(all);
    memcpy(all, header, size);
    memcpy(all + size, data, 4000);
    memcpy(all + size + 4000, data + 5, 4);
    struct sl_safetensors *file = NULL;
    assert_int_equal(sl_safetensors_open_memory(&file, all, size + 4004, "x", &err), SL_OK);
    float back[1000];
    const struct sl_tensor *t = sl_safetensors_find(file, views[0].name);
    assert_int_equal(sl_safetensors_read_f32(file, t, back, 1000, &err), SL_OK);
    assert_memory_equal(back, data, sizeof(data));
    assert_int_equal(
            sl_safetensors_read_f32(file, sl_safetensors_find(file, "scalar"), back, 1, &err), SL_OK);
    assert_memory_equal(back, data + 5, 4);
    assert_string_equal(sl_safetensors_metadata(file, "quote"), "\"\n");
    sl_safetensors_close(file);
    free(all);
    sl_free(header);
    struct sl_tensor_view twice[] = {views[1], views[1]};
    assert_int_equal(sl_safetensors_header(&header, &size, twice, 2, NULL, 0, &err), SL_USAGE);
    twice[1].name = "\xff";
    assert_int_equal(sl_safetensors_header(&header, &size, twice, 2, NULL, 0, &err), SL_USAGE);
}

static void test_no_memory(void **state)
{
    (void)state;
    size_t size = make_image("{\"__metadata__\":{\"a\":\"b\"}," T("a", "F32", "1", 0, 4) "}", 4);
    for (uint64_t n = 1;; n++) {
        struct sl_safetensors *file = NULL;
        sl_memory_fail_after(n);
        enum sl_status s = sl_safetensors_open_memory(&file, image, size, "x", &err);
        sl_memory_fail_after(0);
        sl_safetensors_close(file);
        if (s == SL_OK) {
            assert_true(n > 6);
            break;
        }
        assert_int_equal(s, SL_NO_MEMORY);
        assert_true(n < 50);
    }
    const struct sl_tensor_view view = {"a", SL_DTYPE_F32, 1, {1}, image};
    const struct sl_metadata metadata = {"a", "b"};
    for (uint64_t n = 1;; n++) {
        char *header = NULL;
        sl_memory_fail_after(n);
        enum sl_status s = sl_safetensors_header(&header, &size, &view, 1, &metadata, 1, &err);
        sl_memory_fail_after(0);
        sl_free(header);
        if (s == SL_OK)
            break;
        assert_int_equal(s, SL_NO_MEMORY);
        assert_true(n < 50);
    }
}

static void test_real_checkpoints(void **state)
{
    (void)state;
    const char *shared = getenv("SHELFLIFE_SHARED");
    static const struct {
        const char *path;
        int count;
    } files[] = {{"data/checkpoints/squeezenet_v1.0_imagenet.safetensors", 52},
            {"data/checkpoints/burn_mnist.safetensors", 0},
            {"data/checkpoints/burn_multi_layer.safetensors", 0},
            {"golden/frames_text/step0.safetensors", 0}};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char path[4096];
        (void)snprintf(path, sizeof(path), "%s/%s", shared == NULL ? "" : shared, files[i].path);
        if (shared == NULL || access(path, R_OK) != 0) {
            printf("skipped: no %s\n", files[i].path);
            skip();
        }
        struct sl_safetensors *file = NULL;
        if (sl_safetensors_open(&file, path, &err) != SL_OK)
            fail_msg("%s", err.text);
        int count = sl_safetensors_count(file);
        assert_true(files[i].count == 0 ? count > 0 : count == files[i].count);
        uint64_t elements = 0;
        for (int t = 0; t < count; t++) {
            const struct sl_tensor *tensor = sl_safetensors_at(file, t);
            assert_ptr_equal(sl_safetensors_find(file, tensor->name), tensor);
            elements += tensor->count;
            if (tensor->dtype != SL_DTYPE_F32)
                continue;
            float *values = sl_alloc(tensor->count, sizeof(float));
            assert_non_null(values);
            assert_int_equal(sl_safetensors_read_f32(file, tensor, values, tensor->count, &err), SL_OK);
            for (uint64_t k = 0; k < tensor->count; k++)
                assert_true(isfinite(values[k]));
            sl_free(values);
        }
        printf("%s: %d tensors, %llu elements\n", files[i].path, count, (unsigned long long)elements);
        if (i == 0)
            assert_int_equal(elements, 1248424);
        sl_safetensors_close(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_reads),
            cmocka_unit_test(test_refuses),
            cmocka_unit_test(test_refuses_other_formats),
            cmocka_unit_test(test_converts),
            cmocka_unit_test(test_write_round_trip),
            cmocka_unit_test(test_no_memory),
            cmocka_unit_test(test_real_checkpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
