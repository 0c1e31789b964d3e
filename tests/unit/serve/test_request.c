/* Requests from JSON, forms and protobuf: what is taken, and every refusal. */
#include "deploy/serve/form.h"
#include "deploy/serve/request.h"

#include "common/memory.h"
#include "proto/serve.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void refused(const char *text, const char *words)
{
    struct sl_error err = {0};
    struct dp_request request = {0};
    assert_int_equal(dp_request_parse(&request, text, strlen(text), &err), SL_USAGE);
    if (strstr(err.text, words) == NULL)
        fail_msg("%s: no \"%s\" in \"%s\"", text, words, err.text);
    dp_request_fini(&request);
}

static void test_json(void **state)
{
    (void)state;
    static const char text[] =
            "{\"id\":\"a\",\"title\":\"t\",\"asr\":null,\"video\":\"a.mp4\",\"published\":\"1970-01-02T00:00:"
            "00Z\","
            "\"label\":\"day\",\"_mine\":1,\"features\":{\"audio\":[[1,2],[3,4.5]],\"meta\":[7]}}";
    struct sl_error err = {0};
    struct dp_request request = {0};
    assert_int_equal(dp_request_parse(&request, text, strlen(text), &err), SL_OK);
    assert_string_equal(request.id, "a");
    assert_string_equal(request.texts[WK_TEXT_TITLE], "t");
    assert_null(request.texts[WK_TEXT_ASR]);
    assert_string_equal(request.video, "a.mp4");
    assert_true(request.published_s == 86400);
    assert_int_equal(request.upload_count, 2);
    const struct dp_upload *audio = &request.uploads[0], *meta = &request.uploads[1];
    assert_int_equal(audio->kind, DP_UPLOAD_ROWS);
    assert_true(audio->shape[0] == 2 && audio->shape[1] == 2 && ((float *)audio->bytes)[3] == 4.5F);
    assert_true(meta->shape[0] == 1 && meta->shape[1] == 1 && ((float *)meta->bytes)[0] == 7.0F);
    dp_request_fini(&request);
    assert_int_equal(dp_request_parse(&request, "{}", 2, &err), SL_OK);
    assert_true(request.published_s == INT64_MIN);
    dp_request_fini(&request);
}

static void test_texts_and_tokens(void **state)
{
    (void)state;
    static const char text[] = "{\"texts\":{\"body\":\"b\"},\"tokens\":{\"ids\":[7,8]}}";
    struct sl_error err = {0};
    struct dp_request request = {0};
    assert_int_equal(dp_request_parse(&request, text, strlen(text), &err), SL_OK);
    assert_int_equal(request.own_text_count, 1);
    assert_string_equal(request.own_texts[0].name, "body");
    assert_string_equal(request.own_texts[0].text, "b");
    assert_int_equal(request.uploads[0].kind, DP_UPLOAD_TOKENS);
    assert_true(request.uploads[0].shape[0] == 2 && ((int64_t *)request.uploads[0].bytes)[1] == 8);
    dp_request_fini(&request);
    refused("{\"texts\":{\"body\":1}}", "a modality's name and a text");
    refused("{\"tokens\":{\"ids\":[\"a\"]}}", "token 0 is not a whole number");
    refused("{\"tokens\":{\"ids\":7}}", "expected token ids");
    refused("{\"features\":{\"ids\":[7]},\"tokens\":{\"ids\":[7]}}", "given twice");
}

static void test_json_refusals(void **state)
{
    (void)state;
    refused("{", "line 1");
    refused("7", "not JSON");
    refused("[]", "not a JSON object");
    refused("{\"a\":1,\"a\":2}", "duplicate");
    refused("{\"titel\":\"x\"}", "unknown key \"titel\"");
    refused("{\"video\":1}", "\"video\" is not a text");
    refused("{\"published\":\"now\"}", "\"published\"");
    refused("{\"features\":[]}", "not an object");
    refused("{\"features\":{\"a\":[]}}", "expected rows of numbers");
    refused("{\"features\":{\"a\":[[]]}}", "expected rows of numbers");
    refused("{\"features\":{\"a\":3}}", "expected rows of numbers");
    refused("{\"features\":{\"a\":[[1],2]}}", "row 1 is not a list of 1 numbers");
    refused("{\"features\":{\"a\":[1e300]}}", "not a finite float32");
    refused("{\"features\":{\"a\":[true]}}", "not a finite float32");
}

/* Rows that are not alike, of which the first alone is long: refused before there is room for rows times columns numbers, here 2 TiB. */
static void test_a_small_text_asks_for_no_large_array(void **state)
{
    (void)state;
    const size_t columns = (size_t)1 << 20, rows = (size_t)1 << 19;
    struct sl_error err = {0};
    struct dp_request request = {0};
    SL_AUTO_FREE char *text = sl_alloc(columns * 2 + rows * 3 + 64, 1);
    size_t at = (size_t)sprintf(text, "{\"features\":{\"a\":[[0");
    for (size_t i = 1; i < columns; i++, at += 2)
        memcpy(text + at, ",0", 2);
    text[at++] = ']';
    for (size_t i = 1; i < rows; i++, at += 3)
        memcpy(text + at, ",[]", 3);
    memcpy(text + at, "]}}", 4);
    assert_int_equal(dp_request_parse(&request, text, strlen(text), &err), SL_USAGE);
    assert_non_null(strstr(err.text, "row 1 is not a list of 1048576 numbers"));
    dp_request_fini(&request);
}

static void test_uploads(void **state)
{
    (void)state;
    struct sl_error err = {0};
    struct dp_request request = {0};
    char name[SL_NAME_MAX + 1];
    for (int i = 0; i < DP_REQUEST_UPLOADS_MAX; i++) {
        char *bytes = sl_strdup("x");
        (void)snprintf(name, sizeof(name), i == 0 ? "video" : "m%d", i);
        assert_int_equal(dp_request_upload(&request, name, &bytes, 1, &err), SL_OK);
        assert_null(bytes);
    }
    SL_AUTO_FREE char *more = sl_strdup("x");
    assert_int_equal(dp_request_upload(&request, "video", &more, 1, &err), SL_USAGE);
    assert_non_null(strstr(err.text, "\"video\" is given twice"));
    assert_int_equal(dp_request_upload(&request, "other", &more, 1, &err), SL_USAGE);
    assert_non_null(strstr(err.text, "more than"));
    memset(name, 'n', SL_NAME_MAX);
    name[SL_NAME_MAX] = 0;
    assert_int_equal(dp_request_upload(&request, name, &more, 1, &err), SL_USAGE);
    assert_non_null(more);
    assert_int_equal(request.uploads[0].kind, DP_UPLOAD_VIDEO);
    assert_int_equal(request.uploads[1].kind, DP_UPLOAD_NPY);
    dp_request_fini(&request);
}

/* ---- protobuf ---- */

static enum sl_status unpack(struct dp_request *request, const Shelflife__Serve__Request *message,
        const struct dp_frame *frames, int count, struct sl_error *err)
{
    uint8_t bytes[1024];
    size_t size = shelflife__serve__request__pack(message, bytes);
    return dp_request_unpack(request, bytes, size, frames, count, err);
}

static void test_protobuf(void **state)
{
    (void)state;
    struct sl_error err = {0};
    struct dp_request request = {0};
    int64_t shape[] = {1, 2};
    const float numbers[] = {1.0F, 2.0F};
    Shelflife__Serve__Tensor rows = SHELFLIFE__SERVE__TENSOR__INIT, video = SHELFLIFE__SERVE__TENSOR__INIT;
    Shelflife__Serve__Tensor *tensors[] = {&rows, &video};
    Shelflife__Serve__Request message = SHELFLIFE__SERVE__REQUEST__INIT;
    const struct dp_frame frames[] = {{numbers, sizeof(numbers)}, {"mp4", 3}};
    rows.has_kind = true;
    rows.kind = SHELFLIFE__SERVE__TENSOR__KIND__ROWS;
    rows.modality = "audio";
    rows.shape = shape;
    rows.n_shape = 2;
    message.title = "t";
    message.has_published = true;
    message.published = 7;
    message.tensors = tensors;
    message.n_tensors = 2;
    assert_int_equal(unpack(&request, &message, frames, 2, &err), SL_OK);
    assert_string_equal(request.texts[WK_TEXT_TITLE], "t");
    assert_true(request.published_s == 7 && request.upload_count == 2);
    assert_int_equal(request.uploads[1].kind, DP_UPLOAD_VIDEO);
    dp_request_fini(&request);

    assert_int_equal(unpack(&request, &message, frames, 1, &err), SL_USAGE);
    assert_non_null(strstr(err.text, "2 tensors are announced, 1 frames came"));
    shape[1] = INT64_MAX;
    assert_int_equal(unpack(&request, &message, frames, 2, &err), SL_USAGE);
    assert_non_null(strstr(err.text, "not what its shape asks for"));
    dp_request_fini(&request);
    rows.modality = NULL;
    assert_int_equal(unpack(&request, &message, frames, 2, &err), SL_USAGE);
    dp_request_fini(&request);
    message.has_version = true;
    message.version = 2;
    assert_int_equal(unpack(&request, &message, frames, 2, &err), SL_MISMATCH);
    assert_int_equal(dp_request_unpack(&request, "\xff", 1, NULL, 0, &err), SL_USAGE);
    assert_int_equal(dp_request_unpack(&request, NULL, DP_REQUEST_HEADER_MAX + 1, NULL, 0, &err), SL_USAGE);
}

/* ---- forms ---- */

static void test_forms(void **state)
{
    (void)state;
    struct sl_error err = {0};
    struct dp_form form;
    dp_form_init(&form, 10);
    struct dp_job *job = dp_job_create(NULL, NULL);
    assert_int_equal(dp_form_finish(&form, job, &err), SL_USAGE);
    assert_non_null(strstr(err.text, "is empty"));
    assert_int_equal(dp_form_part(&form, "request", true, "{", 1, &err), SL_OK);
    assert_int_equal(dp_form_part(&form, "request", false, "}", 1, &err), SL_OK);
    assert_int_equal(dp_form_part(&form, "request", true, "{", 1, &err), SL_USAGE);
    assert_int_equal(dp_form_part(&form, "video", true, "12345678", 8, &err), SL_OK);
    assert_int_equal(dp_form_part(&form, "video", false, "9", 1, &err), SL_AGAIN); /* beyond the limit */
    assert_int_equal(dp_form_finish(&form, job, &err), SL_OK);
    assert_string_equal(job->text, "{}");
    assert_int_equal(job->request.upload_count, 1);
    assert_memory_equal(job->request.uploads[0].bytes, "12345678", 8);
    dp_job_destroy(job);
    dp_form_fini(&form);
}

/* As libmicrohttpd tells of a part when the first piece of the body ends with the part's header lines, or up to four bytes later: twice from offset 0, first with nothing. */
static void test_a_part_may_begin_with_nothing(void **state)
{
    (void)state;
    struct sl_error err = {0};
    struct dp_form form;
    dp_form_init(&form, 100);
    struct dp_job *job = dp_job_create(NULL, NULL);
    assert_int_equal(dp_form_part(&form, "request", true, "", 0, &err), SL_OK);
    assert_int_equal(dp_form_part(&form, "request", true, "{", 1, &err), SL_OK);
    assert_int_equal(dp_form_part(&form, "request", false, "}", 1, &err), SL_OK);
    assert_int_equal(dp_form_part(&form, "video", true, "", 0, &err), SL_OK);
    assert_int_equal(dp_form_part(&form, "request", true, "", 0, &err), SL_USAGE);
    assert_int_equal(dp_form_finish(&form, job, &err), SL_OK);
    assert_string_equal(job->text, "{}");
    dp_job_destroy(job);
    dp_form_fini(&form);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_json), cmocka_unit_test(test_json_refusals),
            cmocka_unit_test(test_texts_and_tokens),
            cmocka_unit_test(test_a_small_text_asks_for_no_large_array), cmocka_unit_test(test_uploads),
            cmocka_unit_test(test_protobuf), cmocka_unit_test(test_forms),
            cmocka_unit_test(test_a_part_may_begin_with_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
