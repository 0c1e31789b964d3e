/* Any bytes as titles, one a line: groups are named by their smallest member, and a title is its own twin. */
#include "common/memory.h"
#include "worker/dataset/twins.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    struct wk_twins *twins = NULL;
    struct sl_error err = {0};
    double similarity = size > 0 ? (data[0] % 10 + 1) / 10.0 : 1.0;
    CHECK(wk_twins_create(&twins, similarity, &err) == SL_OK);
    for (size_t begin = 0; begin < size;) {
        const uint8_t *newline = memchr(data + begin, '\n', size - begin);
        size_t end = newline != NULL ? (size_t)(newline - data) : size;
        CHECK(wk_twins_add(twins, (const char *)data + begin, end - begin, &err) == SL_OK);
        begin = end + 1;
    }
    CHECK(wk_twins_find(twins, &err) == SL_OK);
    uint32_t count = wk_twins_count(twins);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t group = wk_twins_group(twins, i);
        double self = wk_twins_similarity(twins, i, i), first = wk_twins_similarity(twins, group, i);
        CHECK(group <= i && wk_twins_group(twins, group) == group);
        CHECK((self == 1.0 || self == 0.0) && first >= 0.0 && first <= 1.0);
    }
    wk_twins_destroy(twins);
    return 0;
}
