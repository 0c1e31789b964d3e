/* Headers: what goes in comes out; what is out of range is refused by name. */
#include "common/codec.h"
#include "common/memory.h"
#include "proto/cluster.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct sl_message *round_trip(const struct sl_message *message)
{
    unsigned char bytes[SL_HEADER_SIZE_MAX];
    size_t size = 0;
    struct sl_error err = {0};
    struct sl_message *back = NULL;
    assert_int_equal(sl_codec_encode(message, bytes, &size, &err), SL_OK);
    assert_int_equal(sl_codec_decode(&back, bytes, size, &err), SL_OK);
    return back;
}

static void test_every_kind_comes_back(void **unused)
{
    (void)unused;
    for (int kind = 1; kind < SL_MESSAGE_KIND_COUNT; kind++) {
        struct sl_message m = {.kind = (enum sl_message_kind)kind,
                .cluster = 1,
                .incarnation = UINT64_MAX,
                .peer = 1ULL << 63,
                .sequence = 3,
                .ack = 7,
                .step = 1 << 20,
                .version = 1 << 21,
                .slots = 8,
                .node = {1, 2},
                .begin = 4,
                .end = 6,
                .block = 9,
                .rank = 11,
                .count = 1ULL << 40,
                .compute_us = 12,
                .hash = UINT64_MAX - 1,
                .text = "why"};
        struct sl_message *back = round_trip(&m);
        assert_int_equal(back->kind, m.kind);
        assert_true(back->incarnation == m.incarnation && back->cluster == 1 && back->sequence == 3 &&
                    back->step == m.step);
        assert_true(back->peer == m.peer && back->ack == 7 && back->version == m.version &&
                    back->rank == 11 && back->count == m.count && back->compute_us == 12 &&
                    back->hash == m.hash);
        assert_true(back->slots == 8 && sl_tree_equal(back->node, m.node) && back->begin == 4 &&
                    back->end == 6 && back->block == 9);
        assert_string_equal(back->text, "why");
        sl_message_destroy(back);
    }
}

static void test_parts_come_back(void **unused)
{
    (void)unused;
    struct sl_message m = {.kind = SL_MESSAGE_HELLO};
    m.hello = (struct sl_hello){SL_ROLE_SERVER, 1, 2, 3, 4, 5, 6, 7, 8, "host", 9, 10, "tcp://10.0.0.1:5555"};
    struct sl_message *back = round_trip(&m);
    assert_memory_equal(&back->hello, &m.hello, sizeof(m.hello));
    sl_message_destroy(back);
    m = (struct sl_message){.kind = SL_MESSAGE_STATS, .slots = 1};
    m.stats = (struct sl_step_stats){.count = 5,
            .weight_sum = 0.1,
            .loss = {1.5, 2.5},
            .score = {0.25},
            .correct = {3, 0, 4},
            .coefficient = {2.5, 5.0}};
    back = round_trip(&m);
    assert_memory_equal(&back->stats, &m.stats, sizeof(m.stats));
    sl_message_destroy(back);
    m = (struct sl_message){.kind = SL_MESSAGE_COMMIT};
    m.commit = (struct sl_commit){0.125, 0.5, 1e-3, {1.0, 0.75}, {1.5, 0.25}, {1.0, 0.5}};
    back = round_trip(&m);
    assert_memory_equal(&back->commit, &m.commit, sizeof(m.commit));
    sl_message_destroy(back);
    m = (struct sl_message){.kind = SL_MESSAGE_REPORT, .report = {1, 2, 3, 4, 5, UINT64_MAX}};
    back = round_trip(&m);
    assert_memory_equal(&back->report, &m.report, sizeof(m.report));
    sl_message_destroy(back);
}

static void refused(const struct sl_message *m, enum sl_status status, const char *word)
{
    unsigned char bytes[SL_HEADER_SIZE_MAX];
    size_t size = 0;
    struct sl_error err = {0};
    struct sl_message *back = NULL;
    assert_int_equal(sl_codec_encode(m, bytes, &size, &err), SL_OK);
    assert_int_equal(sl_codec_decode(&back, bytes, size, &err), status);
    assert_non_null(strstr(err.text, word));
    assert_null(back);
}

static void test_encodings(void **unused)
{
    (void)unused;
    struct sl_message m = {.kind = SL_MESSAGE_PUSH, .slots = 1, .encoding = {0, SL_ENCODING_LINES}};
    struct sl_message *back = round_trip(&m);
    assert_memory_equal(back->encoding, m.encoding, sizeof(m.encoding));
    sl_message_destroy(back);
    m.encoding[0] = SL_ENCODING_BF16_LINES;
    m.encoding[1] = SL_ENCODING_BF16;
    back = round_trip(&m);
    assert_memory_equal(back->encoding, m.encoding, sizeof(m.encoding));
    sl_message_destroy(back);
    m.encoding[1] = SL_ENCODING_COUNT;
    refused(&m, SL_BAD_DATA, "in push");
    refused(&(struct sl_message){.kind = SL_MESSAGE_PUSH, .slots = 1, .encoding = {SL_ENCODING_CHANGED}},
            SL_BAD_DATA, "encoding is 4 in push");
    refused(&(struct sl_message){.kind = SL_MESSAGE_LOAD, .encoding = {SL_ENCODING_CHANGED}}, SL_BAD_DATA,
            "encoding is 4 in load");
    refused(&(struct sl_message){.kind = SL_MESSAGE_PARAMS, .encoding = {SL_ENCODING_LINES}}, SL_BAD_DATA,
            "encoding is 1 in params");
    refused(&(struct sl_message){.kind = SL_MESSAGE_PARAMS, .encoding = {SL_ENCODING_BF16}}, SL_BAD_DATA,
            "in params");
}

static void test_out_of_range_is_refused(void **unused)
{
    (void)unused;
    refused(&(struct sl_message){.kind = (enum sl_message_kind)99}, SL_BAD_DATA, "unknown kind 99");
    refused(&(struct sl_message){.kind = SL_MESSAGE_PULL, .step = -1}, SL_BAD_DATA, "step");
    refused(&(struct sl_message){.kind = SL_MESSAGE_PUSH, .slots = 4, .node = {0, 4}}, SL_BAD_DATA,
            "node (0, 4)");
    refused(&(struct sl_message){.kind = SL_MESSAGE_PUSH, .slots = 4, .node = {3, 0}}, SL_BAD_DATA,
            "node (3, 0)");
    refused(&(struct sl_message){.kind = SL_MESSAGE_PUSH, .slots = 0}, SL_BAD_DATA, "of 0 slots");
    refused(&(struct sl_message){.kind = SL_MESSAGE_PUSH, .slots = SL_SLOTS_MAX + 1}, SL_BAD_DATA, "slots");
    refused(&(struct sl_message){.kind = SL_MESSAGE_ASSIGN, .slots = 4, .begin = 2, .end = 2}, SL_BAD_DATA,
            "[2, 2)");
    refused(&(struct sl_message){.kind = SL_MESSAGE_ASSIGN, .slots = 4, .begin = 2, .end = 5}, SL_BAD_DATA,
            "[2, 5)");
    static const enum sl_phase of_slots[] = {SL_PHASE_SKIP, SL_PHASE_AUDIT};
    for (int i = 0; i < 2; i++)
        refused(&(struct sl_message){.kind = SL_MESSAGE_ASSIGN, .phase = of_slots[i], .slots = 4, .end = 5},
                SL_BAD_DATA, "[0, 5)");
    sl_message_destroy(round_trip(
            &(struct sl_message){.kind = SL_MESSAGE_ASSIGN, .phase = SL_PHASE_VALIDATE, .end = 5}));
    refused(&(struct sl_message){.kind = SL_MESSAGE_PULL, .version = -1}, SL_BAD_DATA, "version");
    struct sl_message m = {.kind = SL_MESSAGE_PULL};
    m.phase = SL_PHASE_COUNT;
    refused(&m, SL_BAD_DATA, "phase");
    m = (struct sl_message){.kind = SL_MESSAGE_HELLO};
    m.hello.role = SL_ROLE_COORDINATOR;
    refused(&m, SL_BAD_DATA, "role");
    m.hello.role = SL_ROLE_SERVER;
    m.hello.rank = SL_SERVERS_MAX;
    refused(&m, SL_BAD_DATA, "server 1024");
    m.hello = (struct sl_hello){.role = SL_ROLE_SERVER, .servers = SL_SERVERS_MAX + 1};
    refused(&m, SL_BAD_DATA, "of 1025");
    m = (struct sl_message){.kind = SL_MESSAGE_STATS, .slots = 1};
    m.stats.count = -1;
    refused(&m, SL_BAD_DATA, "count");
}

static void test_other_versions_are_a_mismatch(void **unused)
{
    (void)unused;
    Shelflife__Cluster__Header header = SHELFLIFE__CLUSTER__HEADER__INIT;
    unsigned char bytes[64];
    struct sl_error err = {0};
    struct sl_message *back = NULL;
    header.has_protocol = 1;
    header.protocol = SL_PROTOCOL_VERSION + 1;
    header.has_kind = 1;
    header.kind = SL_MESSAGE_PULL;
    size_t size = shelflife__cluster__header__pack(&header, bytes);
    assert_int_equal(sl_codec_decode(&back, bytes, size, &err), SL_MISMATCH);
    assert_non_null(strstr(err.text, "protocol version"));
}

static void test_too_long_lists_and_texts_are_refused(void **unused)
{
    (void)unused;
    Shelflife__Cluster__Header header = SHELFLIFE__CLUSTER__HEADER__INIT;
    Shelflife__Cluster__Commit commit = SHELFLIFE__CLUSTER__COMMIT__INIT;
    double coefficients[SL_MODALITIES_MAX + 1] = {0};
    char text[SL_MESSAGE_TEXT_MAX + 2];
    unsigned char bytes[SL_HEADER_SIZE_MAX];
    struct sl_error err = {0};
    struct sl_message *back = NULL;
    header.has_protocol = header.has_kind = 1;
    header.protocol = SL_PROTOCOL_VERSION;
    header.kind = SL_MESSAGE_COMMIT;
    header.commit = &commit;
    commit.n_coefficient = SL_MODALITIES_MAX + 1;
    commit.coefficient = coefficients;
    assert_int_equal(sl_codec_decode(&back, bytes, shelflife__cluster__header__pack(&header, bytes), &err),
            SL_BAD_DATA);
    assert_non_null(strstr(err.text, "commit.coefficient"));
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    header.commit = NULL;
    header.text = text;
    assert_int_equal(sl_codec_decode(&back, bytes, shelflife__cluster__header__pack(&header, bytes), &err),
            SL_BAD_DATA);
    assert_non_null(strstr(err.text, "text"));
    assert_int_equal(sl_codec_decode(&back, bytes, SL_HEADER_SIZE_MAX + 1, &err), SL_BAD_DATA);
    assert_int_equal(sl_codec_decode(&back, (const unsigned char *)"\xff\xff\xff", 3, &err), SL_BAD_DATA);
    assert_int_equal(sl_codec_decode(&back, bytes, 0, &err), SL_MISMATCH);
}

static void test_memory_is_capped(void **unused)
{
    (void)unused;
    /* many empty sub-messages: three bytes each on the wire, much more in memory; only the last one counts, but all are unpacked */
    unsigned char bytes[SL_HEADER_SIZE_MAX];
    struct sl_error err = {0};
    struct sl_message *back = NULL;
    for (size_t i = 0; i + 2 < sizeof(bytes); i += 3) {
        bytes[i] = 0xba; /* hello is field 22: a tag of two bytes and a length of 0 */
        bytes[i + 1] = 0x01;
        bytes[i + 2] = 0;
    }
    enum sl_status status = sl_codec_decode(&back, bytes, sizeof(bytes) / 3 * 3, &err);
    assert_true(status == SL_BAD_DATA || status == SL_MISMATCH);
    sl_memory_fail_after(1);
    struct sl_message m = {.kind = SL_MESSAGE_PULL};
    size_t size = 0;
    assert_int_equal(sl_codec_encode(&m, bytes, &size, &err), SL_OK);
    status = sl_codec_decode(&back, bytes, size, &err);
    sl_memory_fail_after(0);
    assert_true(status == SL_BAD_DATA || status == SL_NO_MEMORY);
    assert_null(back);
}

static void test_frames_fit_the_kind(void **unused)
{
    (void)unused;
    struct sl_error err = {0};
    assert_int_equal(
            sl_codec_check_frames(&(struct sl_message){.kind = SL_MESSAGE_PARAMS, .frame_count = 1}, &err),
            SL_OK);
    assert_int_equal(
            sl_codec_check_frames(&(struct sl_message){.kind = SL_MESSAGE_PARAMS}, &err), SL_BAD_DATA);
    assert_int_equal(
            sl_codec_check_frames(&(struct sl_message){.kind = SL_MESSAGE_PUSH, .frame_count = 3}, &err),
            SL_BAD_DATA);
    assert_int_equal(
            sl_codec_check_frames(&(struct sl_message){.kind = SL_MESSAGE_SAVED, .frame_count = 4}, &err),
            SL_BAD_DATA);
    assert_int_equal(
            sl_codec_check_frames(&(struct sl_message){.kind = SL_MESSAGE_ACK, .frame_count = 1}, &err),
            SL_BAD_DATA);
    assert_string_equal(sl_message_name(SL_MESSAGE_PUSH), "push");
    assert_string_equal(sl_message_name((enum sl_message_kind)77), "unknown");
}

static enum sl_status check_list(struct sl_server_entry *entries, size_t size, struct sl_error *err)
{
    struct sl_message m = {.kind = SL_MESSAGE_WELCOME, .frame_count = 1};
    m.frames[0] = (struct sl_frame){NULL, entries, size};
    return sl_codec_check_frames(&m, err);
}

static void test_the_list_of_servers(void **unused)
{
    (void)unused;
    static struct sl_server_entry entries[SL_SERVERS_MAX + 1];
    const size_t one = sizeof(entries[0]);
    struct sl_error err = {0};
    assert_int_equal(sl_codec_check_frames(&(struct sl_message){.kind = SL_MESSAGE_WELCOME}, &err), SL_OK);
    assert_int_equal(check_list(entries, one, &err), SL_OK);
    assert_int_equal(check_list(entries, SL_SERVERS_MAX * one, &err), SL_OK);
    assert_int_equal(check_list(entries, (SL_SERVERS_MAX + 1) * one, &err), SL_BAD_DATA);
    assert_int_equal(check_list(entries, 0, &err), SL_BAD_DATA);
    assert_int_equal(check_list(entries, 2 * one - 1, &err), SL_BAD_DATA);
    memset(entries[1].endpoint, 'x', SL_ENDPOINT_MAX);
    assert_int_equal(check_list(entries, one, &err), SL_OK);
    assert_int_equal(check_list(entries, 2 * one, &err), SL_BAD_DATA);
    assert_non_null(strstr(err.text, "server 1"));
    entries[1].endpoint[SL_ENDPOINT_MAX - 1] = 0;
    assert_int_equal(check_list(entries, 2 * one, &err), SL_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_every_kind_comes_back),
            cmocka_unit_test(test_parts_come_back),
            cmocka_unit_test(test_encodings),
            cmocka_unit_test(test_out_of_range_is_refused),
            cmocka_unit_test(test_other_versions_are_a_mismatch),
            cmocka_unit_test(test_too_long_lists_and_texts_are_refused),
            cmocka_unit_test(test_memory_is_capped),
            cmocka_unit_test(test_frames_fit_the_kind),
            cmocka_unit_test(test_the_list_of_servers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
