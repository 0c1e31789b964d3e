/* Any bytes as a dataset's manifest.json: an error, or an index whose sums agree with its shards. */
#include "worker/dataset/index.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                  \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wk_index *index = NULL;
    struct sl_error err = {0};
    enum sl_status status = wk_index_parse(&index, (const char *)data, size, "fuzz", &err);
    CHECK((status == SL_OK) == (index != NULL));
    CHECK(status == SL_OK || (status == SL_BAD_DATA && err.text[0] != '\0'));
    if (index == NULL)
        return 0;
    uint64_t count = 0;
    for (uint32_t i = 0; i < index->shard_count; i++)
        count += index->shards[i].count;
    CHECK(count == index->count && index->label_count <= SL_LABELS_MAX &&
            index->modality_count <= SL_MODALITIES_MAX);
    wk_index_destroy(index);
    return 0;
}
