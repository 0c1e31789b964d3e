/* Any bytes as a shard's data file: refused before LMDB maps it, or safe to read to the last entry. */
#include "common/file.h"
#include "common/memory.h"
#include "worker/dataset/record.h"
#include "worker/dataset/shard.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/fuzz-shard-XXXXXX";

static void remove_folder(void)
{
    (void)!sl_file_remove_tree(folder, NULL);
}

static void write_file(const uint8_t *data, size_t size)
{
    static int ready;
    if (!ready && (mkdtemp(folder) == NULL || atexit(remove_folder) != 0))
        abort();
    ready = 1;
    char path[64];
    (void)snprintf(path, sizeof(path), "%s/" WK_SHARD_FILE, folder);
    FILE *file = fopen(path, "wb");
    if (file == NULL || (size > 0 && fwrite(data, size, 1, file) != 1) || fclose(file) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wk_shard *shard = NULL;
    struct sl_error err = {0};
    write_file(data, size);
    if (wk_shard_open(&shard, folder, -1, &err) != SL_OK)
        return 0;
    for (int kind = 0; kind < 2; kind++) {
        uint64_t count = kind == WK_ENTRY_SAMPLE ? wk_shard_count(shard) : wk_shard_reject_count(shard);
        for (uint64_t i = 0; i < count; i++) {
            const void *bytes = NULL;
            size_t record_size = 0;
            uint64_t key = 0;
            if (wk_shard_peek(shard, (enum wk_entry_kind)kind, i, &bytes, &record_size, &key, &err) == SL_OK)
                (void)!wk_record_verify(NULL, bytes, record_size, key, &err);
        }
    }
    wk_shard_close(shard);
    return 0;
}
