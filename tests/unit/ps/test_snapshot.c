/* Snapshots: bits come back; every kind of damage is named and the one before is used; whatever call to the kernel fails, or is the last one of a
 * process that is killed, there is a whole snapshot, old or new. The calls are failed by definitions of this file that stand before libc's. */
#include "common/file.h"
#include "common/placement.h"
#include "common/safetensors.h"
#include "ps/snapshot.h"
#include "tests/unit/ps/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* faults: the fail_at-th call from now fails with fail_errno, or kills the process when that is 0 */
static int fail_at;
static int fail_errno;
static int calls;

static bool fails(void)
{
    if (fail_at == 0 || ++calls != fail_at)
        return false;
    if (fail_errno == 0)
        (void)raise(SIGKILL);
    errno = fail_errno;
    return true;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
    if (fails()) {
        /* a full disk takes part of it first */
        if (size > 1)
            (void)syscall(SYS_write, fd, bytes, size / 2);
        return -1;
    }
    return syscall(SYS_write, fd, bytes, size);
}

/* counted but not done: a killed process loses nothing that it wrote, and thousands of real ones take long */
static int syncs;

int fsync(int fd)
{
    (void)fd;
    syncs++;
    return fails() ? -1 : 0;
}

/* what the disk is told to begin with; it never does */
static int64_t handed_end;
static int handed_pieces, syncs_before;

int sync_file_range(int fd, off_t offset, off_t size, unsigned flags)
{
    (void)fd;
    assert_int_equal(flags, SYNC_FILE_RANGE_WRITE);
    assert_int_equal(offset, handed_end);
    handed_end = offset + size;
    handed_pieces++;
    syncs_before = syncs;
    errno = EIO;
    return -1;
}

int rename(const char *from, const char *to)
{
    return fails() ? -1 : (int)syscall(SYS_rename, from, to);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    return fails() ? -1 : (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

int symlink(const char *target, const char *path)
{
    return fails() ? -1 : (int)syscall(SYS_symlink, target, path);
}

int chmod(const char *path, mode_t mode)
{
    return fails() ? -1 : (int)syscall(SYS_chmod, path, mode);
}

static struct sl_error err;
static struct sl_config *config;
static struct sl_layout *layout;
static char dir[64];

static int setup(void **state)
{
    (void)state;
    config = fixture_config();
    layout = fixture_layout(config, FIXTURE_BLOCK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sl_layout_destroy(layout);
    sl_free(config);
    return 0;
}

static int make_dir(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof(dir), "test_snapshot_XXXXXX");
    return mkdtemp(dir) == NULL;
}

static int remove_dir(void **state)
{
    (void)state;
    return sl_file_remove_tree(dir, &err) != SL_OK;
}

/* vectors of a step: flat, gaps zero */
struct vectors {
    float *params, *m, *v;
};

static float *without_gaps(uint64_t stream)
{
    float *y = sl_alloc_aligned(layout->count, sizeof(float));
    assert_non_null(y);
    struct sl_random random = sl_random_make(1, SL_RANDOM_TEST, stream, 0);
    for (int p = 0; p < layout->param_count; p++)
        for (size_t i = layout->params[p].offset; i < layout->params[p].offset + layout->params[p].count; i++)
            y[i] = sl_random_float(&random, i);
    return y;
}

static struct vectors make_vectors(int64_t step)
{
    uint64_t stream = 10 * (uint64_t)step;
    return (struct vectors){without_gaps(stream), without_gaps(stream + 1), without_gaps(stream + 2)};
}

static void free_vectors(struct vectors *vectors)
{
    sl_free(vectors->params);
    sl_free(vectors->m);
    sl_free(vectors->v);
}

static const struct ps_attachment attachments[] = {
        {"config.yaml", "labels: []\n", 11}, {"vocab-text.txt", "", 0}};

static struct ps_snapshot *begin(int64_t step)
{
    struct ps_manifest manifest = {.seed = 7,
            .layout_hash = layout->hash,
            .optimiser = config->optimiser.kind,
            .training = {.step = step, .best_value = NAN},
            .state = (char *)(uintptr_t) "[1]"};
    struct ps_snapshot_source source = {layout, &manifest, attachments, 2};
    struct ps_snapshot *snapshot = NULL;
    if (ps_snapshot_begin(&snapshot, &source, &err) != SL_OK)
        fail_msg("%s", err.text);
    return snapshot;
}

/* put_part puts a block's part of the vectors, from `skew` bytes into buffers as a message would hold them. */
static enum sl_status put_part(
        struct ps_snapshot *snapshot, int b, const struct vectors *vectors, size_t skew)
{
    const float *flat[] = {vectors->params, vectors->m, vectors->v};
    size_t size = layout->blocks[b].count * sizeof(float);
    struct sl_frame frames[3];
    for (int k = 0; k < 3; k++) {
        struct sl_buffer *buffer = sl_buffer_create(size + skew);
        assert_non_null(buffer);
        frames[k] = (struct sl_frame){buffer, (char *)buffer->data + skew, size};
        memcpy((char *)buffer->data + skew, flat[k] + layout->blocks[b].offset, size);
    }
    enum sl_status s = ps_snapshot_put(snapshot, b, &frames[0], &frames[1], &frames[2], &err);
    for (int k = 0; k < 3; k++)
        sl_buffer_release(frames[k].buffer);
    return s;
}

static struct ps_snapshot *capture(int64_t step)
{
    struct vectors vectors = make_vectors(step);
    struct ps_snapshot *snapshot = begin(step);
    for (int b = 0; b < layout->block_count; b++) {
        assert_false(ps_snapshot_whole(snapshot));
        if (put_part(snapshot, b, &vectors, 0) != SL_OK)
            fail_msg("%s", err.text);
    }
    assert_true(ps_snapshot_whole(snapshot));
    free_vectors(&vectors);
    return snapshot;
}

static void save(int64_t step)
{
    struct ps_snapshot *snapshot = capture(step);
    if (ps_snapshot_write(snapshot, dir, &err) != SL_OK)
        fail_msg("%s", err.text);
    ps_snapshot_destroy(snapshot);
}

/* newest gives the step of the newest whole snapshot after comparing every bit of it, -1 for none; reports are counted */
static int reports;
static char last_report[SL_ERROR_TEXT_MAX];

static void report(void *context, const char *text)
{
    (void)context;
    reports++;
    (void)snprintf(last_report, sizeof(last_report), "%s", text);
}

static int64_t newest(void)
{
    struct ps_saved *saved = NULL;
    reports = 0;
    if (ps_snapshot_newest(&saved, dir, report, NULL, &err) != SL_OK)
        return -1;
    int64_t step = ps_saved_manifest(saved)->training.step;
    struct vectors wanted = make_vectors(step), got = make_vectors(0);
    size_t bytes = layout->count * sizeof(float);
    if (ps_saved_load(saved, layout, got.params, got.m, got.v, &err) != SL_OK)
        fail_msg("%s", err.text);
    assert_memory_equal(got.params, wanted.params, bytes);
    assert_memory_equal(got.m, wanted.m, bytes);
    if (config->optimiser.kind == SL_OPTIMISER_ADAMW)
        assert_memory_equal(got.v, wanted.v, bytes);
    free_vectors(&wanted);
    free_vectors(&got);
    ps_saved_close(saved);
    return step;
}

static char *in_dir(const char *name)
{
    char *path = sl_path_join(dir, name);
    assert_non_null(path);
    return path;
}

static void test_round_trip(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        config->optimiser.kind = kind == 0 ? SL_OPTIMISER_SGD : SL_OPTIMISER_ADAMW;
        syncs = 0;
        save(5 + kind);
        assert_int_equal(syncs,
                5 + 3); /* every file, its folder, and the folder of snapshots for the new name and the link */
        assert_int_equal(newest(), 5 + kind);
    }
    struct ps_saved *saved = NULL;
    char *path = in_dir("latest");
    assert_int_equal(ps_saved_open(&saved, path, &err), SL_OK);
    const struct ps_manifest *manifest = ps_saved_manifest(saved);
    assert_true(manifest->seed == 7 && manifest->layout_hash == layout->hash &&
                isnan(manifest->training.best_value));
    assert_string_equal(manifest->state, "[1]");
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(ps_saved_file(saved, "config.yaml", &text, &size, &err), SL_OK);
    assert_string_equal(text, "labels: []\n");
    sl_free(text);
    assert_int_equal(ps_saved_file(saved, "vocab-text.txt", &text, &size, &err), SL_OK);
    assert_int_equal(size, 0);
    sl_free(text);
    assert_int_equal(ps_saved_file(saved, "vocab-visual.txt", &text, &size, &err), SL_NOT_FOUND);
    assert_string_equal(ps_saved_path(saved), path);
    ps_saved_close(saved);
    sl_free(path);
    /* the same step again replaces it */
    save(6);
    assert_int_equal(newest(), 6);
}

/* A large file goes to the disk while the rest is written; that decides nothing: what the sync says counts, and every file is synced as before. */
static void test_disk_begins_early(void **state)
{
    (void)state;
    enum { LARGE = 20 << 20 };
    struct ps_manifest manifest = {.layout_hash = layout->hash,
            .optimiser = config->optimiser.kind,
            .training = {.best_value = NAN}};
    SL_AUTO_FREE char *large = sl_alloc(LARGE, 1);
    assert_non_null(large);
    struct ps_attachment attachment = {"config.yaml", large, LARGE};
    struct ps_snapshot_source source = {layout, &manifest, &attachment, 1};
    struct ps_snapshot *snapshot = NULL;
    struct vectors vectors = make_vectors(0);
    assert_int_equal(ps_snapshot_begin(&snapshot, &source, &err), SL_OK);
    for (int b = 0; b < layout->block_count; b++)
        assert_int_equal(put_part(snapshot, b, &vectors, 0), SL_OK);
    free_vectors(&vectors);
    syncs = handed_pieces = 0;
    handed_end = 0;
    assert_int_equal(ps_snapshot_write(snapshot, dir, &err), SL_OK);
    assert_int_equal(handed_pieces, 1);
    assert_int_equal(handed_end, LARGE);
    assert_int_equal(syncs_before, 0);
    assert_int_equal(syncs, 4 + 3);
    assert_int_equal(newest(), 0);
    ps_snapshot_destroy(snapshot);
}

/* ---- from blocks of several servers ---- */

static char *read_whole(const char *name, size_t *ret_size)
{
    char *path = in_dir(name), *bytes = NULL;
    if (sl_file_read(&bytes, ret_size, path, 64U << 20, &err) != SL_OK)
        fail_msg("%s", err.text);
    sl_free(path);
    return bytes;
}

static void append(char **bytes, size_t *size, const void *more, size_t more_size)
{
    *bytes = sl_realloc(*bytes, *size + more_size, 1);
    assert_non_null(*bytes);
    memcpy(*bytes + *size, more, more_size);
    *size += more_size;
}

struct text {
    char *bytes;
    size_t size;
};

static enum sl_status append_text(void *context, const void *bytes, size_t size, struct sl_error *error)
{
    (void)error;
    struct text *to = context;
    append(&to->bytes, &to->size, bytes, size);
    return SL_OK;
}

/* The file that the safetensors writer makes of whole flat vectors, tensor by tensor: what a snapshot's file must be, byte for byte. */
static struct text plain_file(const float *const flat[], const char *const prefix[], int kinds, int64_t step)
{
    struct text file = {NULL, 0};
    int count = kinds * layout->param_count, i = 0;
    struct sl_tensor_view *views = sl_alloc((size_t)count, sizeof(*views));
    char(*names)[SL_PARAM_NAME_MAX + 2] = sl_alloc((size_t)count, sizeof(*names)), text[3][32];
    assert_true(views != NULL && names != NULL);
    for (int k = 0; k < kinds; k++) {
        for (int p = 0; p < layout->param_count; p++, i++) {
            const struct sl_param *param = &layout->params[p];
            (void)snprintf(names[i], sizeof(names[i]), "%s%s", prefix[k], param->name);
            views[i] = (struct sl_tensor_view){.name = names[i],
                    .dtype = SL_DTYPE_F32,
                    .rank = param->rank,
                    .data = flat[k] + param->offset};
            memcpy(views[i].shape, param->shape, (size_t)param->rank * sizeof(int64_t));
        }
    }
    (void)snprintf(text[0], sizeof(text[0]), "%lld", (long long)step);
    (void)snprintf(text[1], sizeof(text[1]), "%016x", 0);
    (void)snprintf(text[2], sizeof(text[2]), "%016llx", (unsigned long long)layout->hash);
    const struct sl_metadata metadata[] = {
            {"format", "pt"}, {"step", text[0]}, {"config_hash", text[1]}, {"layout_hash", text[2]}};
    struct sl_sink sink = {append_text, &file};
    assert_int_equal(sl_safetensors_write(&sink, views, count, metadata, 4, &err), SL_OK);
    sl_free(views);
    sl_free(names);
    return file;
}

static void expect_file(const char *name, struct text wanted)
{
    size_t size = 0;
    char *bytes = read_whole(name, &size);
    assert_int_equal(size, wanted.size);
    assert_memory_equal(bytes, wanted.bytes, size);
    sl_free(bytes);
    sl_free(wanted.bytes);
}

/* Three servers send their blocks in any order, from any address; the files are those of flat vectors. */
static void test_any_number_of_servers_makes_the_same_files(void **state)
{
    (void)state;
    static const char *const model_prefix[] = {""}, *const moment_prefix[] = {"m.", "v."};
    int *owners = sl_alloc((size_t)layout->block_count, sizeof(int));
    for (int servers = 1; servers <= 3; servers += 2) {
        for (int kind = 0; kind < 2; kind++) {
            config->optimiser.kind = kind == 0 ? SL_OPTIMISER_SGD : SL_OPTIMISER_ADAMW;
            struct vectors vectors = make_vectors(9);
            struct ps_snapshot *snapshot = begin(9);
            sl_placement_make(layout, servers, owners);
            for (int rank = servers - 1; rank >= 0; rank--)
                for (int b = 0; b < layout->block_count; b++)
                    if (owners[b] == rank)
                        assert_int_equal(
                                put_part(snapshot, b, &vectors, (size_t)(servers > 1 ? 1 + rank : 0)), SL_OK);
            assert_int_equal(ps_snapshot_write(snapshot, dir, &err), SL_OK);
            assert_int_equal(newest(), 9);
            const float *params[] = {vectors.params}, *moments[] = {vectors.m, vectors.v};
            expect_file("latest/model.safetensors", plain_file(params, model_prefix, 1, 9));
            expect_file("latest/optimiser.safetensors", plain_file(moments, moment_prefix, 1 + kind, 9));
            ps_snapshot_destroy(snapshot);
            free_vectors(&vectors);
        }
    }
    sl_free(owners);
}

static void test_read_by_blocks(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        config->optimiser.kind = kind == 0 ? SL_OPTIMISER_SGD : SL_OPTIMISER_ADAMW;
        save(4);
        struct vectors vectors = make_vectors(4);
        struct ps_block_state *blocks = sl_alloc((size_t)layout->block_count, sizeof(*blocks));
        struct ps_saved *saved = NULL;
        char *path = in_dir("latest");
        assert_int_equal(ps_saved_open(&saved, path, &err), SL_OK);
        for (uint64_t n = 1;; n++) {
            sl_memory_fail_after(n);
            enum sl_status s = ps_saved_load_blocks(saved, layout, blocks, &err);
            sl_memory_fail_after(0);
            if (s == SL_OK)
                break;
            assert_int_equal(s, SL_NO_MEMORY);
            assert_null(blocks[0].params);
        }
        for (int b = 0; b < layout->block_count; b++) {
            size_t at = layout->blocks[b].offset, size = layout->blocks[b].count * sizeof(float);
            assert_int_equal(blocks[b].params->size, size);
            assert_memory_equal(blocks[b].params->data, vectors.params + at, size);
            assert_memory_equal(blocks[b].m->data, vectors.m + at, size);
            assert_int_equal(blocks[b].v != NULL, kind == 1);
            if (kind == 1)
                assert_memory_equal(blocks[b].v->data, vectors.v + at, size);
            ps_block_state_fini(&blocks[b]);
        }
        ps_saved_close(saved);
        sl_free(path);
        sl_free(blocks);
        free_vectors(&vectors);
    }
}

static void test_blocks_that_do_not_fit(void **state)
{
    (void)state;
    struct vectors vectors = make_vectors(1);
    struct ps_snapshot *snapshot = begin(1);
    assert_int_equal(put_part(snapshot, 1, &vectors, 0), SL_OK);
    assert_int_equal(put_part(snapshot, 1, &vectors, 0), SL_BAD_DATA);
    assert_non_null(strstr(err.text, "block 1 twice"));
    size_t size = layout->blocks[0].count * sizeof(float);
    struct sl_buffer *buffer = sl_buffer_create(size);
    struct sl_frame good = {buffer, buffer->data, size}, tiny = {buffer, buffer->data, size - 4},
                    none = {NULL, NULL, 0};
    assert_int_equal(ps_snapshot_put(snapshot, -1, &good, &good, &good, &err), SL_BAD_DATA);
    assert_int_equal(ps_snapshot_put(snapshot, layout->block_count, &good, &good, &good, &err), SL_BAD_DATA);
    assert_int_equal(ps_snapshot_put(snapshot, 0, &tiny, &good, &good, &err), SL_BAD_DATA);
    assert_int_equal(ps_snapshot_put(snapshot, 0, &good, &tiny, &good, &err), SL_BAD_DATA);
    assert_int_equal(ps_snapshot_put(snapshot, 0, &good, &good, &tiny, &err), SL_BAD_DATA);
    assert_non_null(strstr(err.text, "second moment"));
    assert_int_equal(ps_snapshot_put(snapshot, 0, &none, &good, &good, &err), SL_BAD_DATA);
    assert_int_equal(ps_snapshot_put(snapshot, 0, &good, &none, &good, &err), SL_BAD_DATA);
    assert_int_equal(ps_snapshot_put(snapshot, 0, &good, &good, NULL, &err), SL_BAD_DATA);
    assert_int_equal(atomic_load(&buffer->references), 1); /* nothing was kept */
    assert_int_equal(ps_snapshot_missing(snapshot), layout->block_count - 1);
    assert_int_equal(ps_snapshot_put(snapshot, 0, &good, &good, &good, &err), SL_OK);
    assert_int_equal(atomic_load(&buffer->references), 4);
    assert_false(ps_snapshot_whole(snapshot));
    ps_snapshot_destroy(snapshot); /* half-gathered */
    assert_int_equal(atomic_load(&buffer->references), 1);
    sl_buffer_release(buffer);
    free_vectors(&vectors);
}

static void test_another_model_is_named(void **state)
{
    (void)state;
    save(3);
    struct ps_saved *saved = NULL;
    char *path = in_dir("step-00000003");
    assert_int_equal(ps_saved_open(&saved, path, &err), SL_OK);
    struct sl_config *other = fixture_config();
    static const char *const says[] = {
            "another shape", "has no fusion.layer.1.visual.norm_query.weight", "tensors"};
    for (int change = 0; change < 3; change++) {
        other->label_count = change == 0 ? 4 : 3;
        other->fusion.layers = change == 1 ? 2 : change == 2 ? 0 : 1;
        struct sl_layout *wrong = fixture_layout(other, FIXTURE_BLOCK);
        float *params = sl_alloc(wrong->count, sizeof(float));
        assert_int_equal(ps_saved_load(saved, wrong, params, NULL, NULL, &err), SL_MISMATCH);
        if (strstr(err.text, says[change]) == NULL)
            fail_msg("%s", err.text);
        sl_free(params);
        sl_layout_destroy(wrong);
    }
    sl_free(other);
    ps_saved_close(saved);
    sl_free(path);
}

/* patch xors one byte of a file, or cuts it there when mask is 0 */
static void patch(const char *path, int64_t offset, int mask)
{
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    unsigned char byte = 0;
    if (mask == 0) {
        assert_int_equal(ftruncate(fd, offset), 0);
    } else {
        assert_int_equal(pread(fd, &byte, 1, offset), 1);
        byte = (unsigned char)(byte ^ mask);
        assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    }
    (void)close(fd);
}

static void test_damage_is_named_and_passed_over(void **state)
{
    (void)state;
    static const char *const files[] = {
            "manifest.json", "model.safetensors", "optimiser.safetensors", "config.yaml"};
    save(1);
    save(2);
    struct sl_random random = sl_random_make(5, SL_RANDOM_TEST, 0, 0);
    for (uint64_t f = 0; f < 4; f++) {
        char *path = sl_strdup_printf("%s/step-00000002/%s", dir, files[f]);
        int64_t size = sl_file_size(path);
        assert_true(size > 0);
        for (uint64_t i = 0; i < 16; i++) {
            int64_t at = (int64_t)sl_random_below(&random, 100 * f + i, (uint64_t)size);
            int mask = 1 << (i % 8);
            patch(path, at, mask);
            assert_int_equal(newest(), 1);
            assert_int_equal(reports, 1);
            if (strstr(last_report, path) == NULL)
                fail_msg("\"%s\" does not name %s", last_report, path);
            patch(path, at, mask);
        }
        assert_int_equal(newest(), 2);
        sl_free(path);
    }
    /* one file of a snapshot after the other is cut short, then missing */
    for (int f = 3; f >= 0; f--) {
        for (int missing = 0; missing < 2; missing++) {
            save(2);
            char *path = sl_strdup_printf("%s/step-00000002/%s", dir, files[f]);
            if (missing == 0)
                patch(path, sl_file_size(path) - 1, 0);
            else
                assert_int_equal(unlink(path), 0);
            assert_int_equal(newest(), 1);
            assert_non_null(strstr(last_report, path));
            sl_free(path);
        }
    }
    char *path = sl_strdup_printf("%s/step-00000001/model.safetensors", dir);
    patch(path, 0, 0);
    sl_free(path);
    struct ps_saved *saved = NULL;
    assert_int_equal(ps_snapshot_newest(&saved, dir, NULL, NULL, &err), SL_BAD_DATA);
    assert_non_null(strstr(err.text, "all 2 snapshots are damaged"));
}

static void test_nothing_there(void **state)
{
    (void)state;
    struct ps_saved *saved = NULL;
    struct ps_snapshot_entry *entries = NULL;
    int count = -1;
    assert_int_equal(ps_snapshot_newest(&saved, dir, NULL, NULL, &err), SL_NOT_FOUND);
    assert_int_equal(ps_snapshot_newest(&saved, "no/such/folder", NULL, NULL, &err), SL_NOT_FOUND);
    assert_int_equal(ps_saved_open(&saved, "no/such/folder", &err), SL_NOT_FOUND);
    assert_int_equal(ps_saved_open(&saved, dir, &err), SL_BAD_DATA);
    assert_non_null(strstr(err.text, "manifest.json"));
    assert_int_equal(ps_snapshot_list(&entries, &count, dir, true, &err), SL_OK);
    assert_int_equal(count, 0);
    sl_free(entries);
    assert_int_equal(ps_snapshot_list(&entries, &count, "no/such/folder", true, &err), SL_NOT_FOUND);
}

static void make_folder(const char *name)
{
    char *path = in_dir(name);
    assert_int_equal(mkdir(path, 0755), 0);
    sl_free(path);
}

static void expect_listed(const char *wanted)
{
    struct ps_snapshot_entry *entries = NULL;
    int count = 0;
    char text[512] = "";
    assert_int_equal(ps_snapshot_list(&entries, &count, dir, false, &err), SL_OK);
    for (int i = 0; i < count; i++)
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%lld%s%s%s", i > 0 ? " " : "",
                (long long)entries[i].step, entries[i].best ? "b" : "", entries[i].latest ? "l" : "",
                entries[i].whole ? "" : "!");
    sl_free(entries);
    assert_string_equal(text, wanted);
}

static void test_list_and_prune(void **state)
{
    (void)state;
    for (int64_t step = 10; step <= 60; step += 10)
        save(step);
    assert_int_equal(ps_snapshot_link(dir, "best", 20, &err), SL_OK);
    make_folder("step-00000055");
    make_folder("step-5");
    make_folder("step-00000070.tmp-ABCDEF");
    make_folder("other");
    expect_listed("10 20b 30 40 50 55! 60l");
    int removed = 0;
    struct ps_keep keep = {.count = 2, .protect = 30, .newest = INT64_MAX};
    assert_int_equal(ps_snapshot_prune(dir, &keep, &removed, &err), SL_OK);
    assert_int_equal(removed, 2);
    expect_listed("20b 30 50 55! 60l");
    keep = (struct ps_keep){.count = 1, .protect = -1, .newest = 40, .damaged = true};
    assert_int_equal(ps_snapshot_prune(dir, &keep, &removed, &err), SL_OK);
    assert_int_equal(removed, 0);
    expect_listed("20b 30 50 55! 60l");
    keep = (struct ps_keep){.count = 0, .protect = -1, .newest = INT64_MAX, .damaged = true};
    assert_int_equal(ps_snapshot_prune(dir, &keep, &removed, &err), SL_OK);
    assert_int_equal(removed, 4);
    expect_listed("20b");
    char *path = in_dir("other");
    assert_true(sl_file_is_directory(path));
    sl_free(path);
    path = in_dir("step-00000070.tmp-ABCDEF");
    assert_false(sl_file_is_directory(path));
    sl_free(path);
    assert_int_equal(newest(), 20);
}

/* leftovers counts temporary names */
static int leftovers(void)
{
    char *command = sl_strdup_printf("exit $(ls -A %s | grep -c tmp-)", dir);
    int status = system(command);
    sl_free(command);
    return WEXITSTATUS(status);
}

static void test_every_call_fails_once(void **state)
{
    (void)state;
    static const int errors[] = {ENOSPC, EIO};
    save(1);
    for (int replace = 0; replace < 2; replace++) {
        struct ps_snapshot *snapshot = capture(replace == 0 ? 2 : 1);
        for (int e = 0; e < 2; e++) {
            for (int k = 1;; k++) {
                assert_true(k < 200);
                calls = 0;
                fail_errno = errors[e];
                fail_at = k;
                enum sl_status s = ps_snapshot_write(snapshot, dir, &err);
                fail_at = 0;
                int64_t step = newest();
                if (s == SL_OK) {
                    assert_int_equal(step, ps_snapshot_step(snapshot));
                    assert_true(k > 20);
                }
                if (s != SL_OK && (s != SL_DISK || strstr(err.text, "snapshot step-0000000") == NULL))
                    fail_msg("call %d: %s \"%s\"", k, sl_status_name(s), err.text);
                assert_true(step == 1 || step == 2);
                assert_int_equal(leftovers(), 0);
                if (replace == 0) {
                    char *path = in_dir("step-00000002");
                    assert_int_equal(sl_file_remove_tree(path, &err), SL_OK);
                    sl_free(path);
                }
                if (s == SL_OK)
                    break;
            }
        }
        ps_snapshot_destroy(snapshot);
        save(1);
    }
}

static void test_killed_at_every_call(void **state)
{
    (void)state;
    save(1);
    int old = 0, new = 0;
    for (int replace = 0; replace < 2; replace++) {
        struct ps_snapshot *snapshot = capture(2);
        for (int k = 1;; k++) {
            assert_true(k < 200);
            pid_t child = fork();
            assert_true(child >= 0);
            if (child == 0) {
                fail_at = k;
                fail_errno = 0;
                calls = 0;
                _exit(ps_snapshot_write(snapshot, dir, &err) == SL_OK ? 0 : 1);
            }
            int status = 0;
            assert_int_equal(waitpid(child, &status, 0), child);
            int64_t step = newest();
            if (WIFEXITED(status)) {
                assert_int_equal(WEXITSTATUS(status), 0);
                assert_int_equal(step, 2);
                break;
            }
            assert_int_equal(WTERMSIG(status), SIGKILL);
            assert_true(step == 2 || (step == 1 && replace == 0));
            old += step == 1;
            new += step == 2;
            /* the next write cleans what this one left */
            char *path = in_dir("step-00000002");
            if (replace == 0)
                assert_int_equal(sl_file_remove_tree(path, &err), SL_OK);
            sl_free(path);
        }
        assert_int_equal(leftovers(), 0);
        ps_snapshot_destroy(snapshot);
    }
    printf("killed %d times: %d times the old one was there, %d times the new one\n", old + new, old, new);
    assert_true(old > 10 && new > 10);
}

static void test_no_memory(void **state)
{
    (void)state;
    save(1);
    struct ps_snapshot *snapshot = capture(2);
    for (uint64_t n = 1;; n++) {
        assert_true(n < 2000);
        sl_memory_fail_after(n);
        enum sl_status s = ps_snapshot_write(snapshot, dir, &err);
        sl_memory_fail_after(0);
        assert_int_equal(newest() > 0, 1);
        if (s == SL_OK)
            break;
        assert_int_equal(s, SL_NO_MEMORY);
    }
    ps_snapshot_destroy(snapshot);
    for (uint64_t n = 1;; n++) {
        assert_true(n < 2000);
        struct ps_saved *saved = NULL;
        struct vectors got = make_vectors(0);
        sl_memory_fail_after(n);
        enum sl_status s = ps_snapshot_newest(&saved, dir, NULL, NULL, &err);
        if (s == SL_OK)
            s = ps_saved_load(saved, layout, got.params, got.m, got.v, &err);
        sl_memory_fail_after(0);
        ps_saved_close(saved);
        free_vectors(&got);
        if (s == SL_OK)
            break;
        assert_int_equal(s, SL_NO_MEMORY);
    }
}

static void test_bad_attachments(void **state)
{
    (void)state;
    struct ps_manifest manifest = {.training = {.best_value = NAN}};
    struct ps_attachment bad[PS_MANIFEST_FILES_MAX] = {{"../config.yaml", "", 0}};
    struct ps_snapshot_source source = {layout, &manifest, bad, 1};
    struct ps_snapshot *snapshot = NULL;
    assert_int_equal(ps_snapshot_begin(&snapshot, &source, &err), SL_USAGE);
    source.attachment_count = PS_MANIFEST_FILES_MAX;
    assert_int_equal(ps_snapshot_begin(&snapshot, &source, &err), SL_USAGE);
    source.attachment_count = 0;
    manifest.state = (char *)(uintptr_t) "{";
    assert_int_equal(ps_snapshot_begin(&snapshot, &source, &err), SL_USAGE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)
    const struct CMUnitTest tests[] = {
            TEST(test_round_trip),
            TEST(test_disk_begins_early),
            TEST(test_any_number_of_servers_makes_the_same_files),
            TEST(test_read_by_blocks),
            TEST(test_blocks_that_do_not_fit),
            TEST(test_another_model_is_named),
            TEST(test_damage_is_named_and_passed_over),
            TEST(test_nothing_there),
            TEST(test_list_and_prune),
            TEST(test_every_call_fails_once),
            TEST(test_killed_at_every_call),
            TEST(test_no_memory),
            TEST(test_bad_attachments),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
