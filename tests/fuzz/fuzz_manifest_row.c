/* Any bytes as a line of a manifest: an error with a reason, or a row whose every field keeps its limits. */
#include "common/memory.h"
#include "worker/dataset/manifest.h"
#include "worker/dataset/sample.h"

#include <stdint.h>
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

static struct sl_config *make_config(void)
{
    static struct sl_config *config;
    if (config != NULL)
        return config;
    config = sl_alloc(1, sizeof(*config));
    CHECK(config != NULL);
    config->label_count = 2;
    (void)snprintf(config->labels[0].name, SL_NAME_MAX, "day");
    (void)snprintf(config->labels[1].name, SL_NAME_MAX, "evergreen");
    config->modality_count = 3;
    static const char *const names[] = {"visual", "text", "audio"};
    for (int m = 0; m < 3; m++) {
        (void)snprintf(config->modalities[m].name, SL_NAME_MAX, "%s", names[m]);
        config->modalities[m].kind = (enum sl_kind)m;
    }
    return config;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct sl_config *config = make_config();
    struct wk_manifest_row row = {0};
    struct sl_error err = {0};
    char id[WK_MANIFEST_ID_MAX + 1];
    enum sl_status status = wk_manifest_parse(&row, id, (const char *)data, size, config, &err);
    CHECK(status == SL_OK || (status == SL_BAD_DATA && err.text[0] != '\0' && row.id == NULL));
    if (status != SL_OK)
        return 0;
    CHECK(strcmp(row.id, id) == 0 && row.id[0] != '\0' && row.split < WK_SPLITS);
    CHECK(row.label == WK_LABEL_NONE || (row.label >= 0 && row.label < config->label_count));
    CHECK(row.arrays[0].path == NULL && row.arrays[1].row >= -1 && row.arrays[2].row >= -1);
    status = wk_manifest_check_inputs(&row, config, &err);
    CHECK(status == SL_OK || status == SL_BAD_DATA);
    wk_manifest_row_fini(&row);
    return 0;
}
