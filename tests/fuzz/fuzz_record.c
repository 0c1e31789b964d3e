/* Any bytes as a record: as they are, and with an envelope made right for them so that the content is reached. What is accepted keeps the
 * config's limits. */
#include "common/memory.h"
#include "common/random.h"
#include "worker/dataset/record.h"

#include <math.h>
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
    config->label_count = 1;
    (void)snprintf(config->labels[0].name, SL_NAME_MAX, "day");
    config->modality_count = 3;
    static const char *const names[] = {"visual", "text", "audio"};
    for (int m = 0; m < 3; m++) {
        struct sl_modality_config *modality = &config->modalities[m];
        (void)snprintf(modality->name, SL_NAME_MAX, "%s", names[m]);
        modality->kind = (enum sl_kind)m;
        modality->image = 4;
        modality->frames = 3;
        modality->max_tokens = 6;
        modality->vocab_size = 100;
        modality->input = 2;
        modality->max_items = 3;
    }
    return config;
}

static void check_sample(const struct wk_sample *sample)
{
    CHECK(sample->id != NULL && sample->title != NULL && sample->label >= WK_LABEL_NONE && sample->label < 1);
    CHECK(sample->inputs[0].items >= 1 && sample->inputs[0].items <= 3 && sample->inputs[0].frames != NULL);
    CHECK(sample->inputs[1].items >= 1 && sample->inputs[1].items <= 6);
    for (int i = 0; i < sample->inputs[1].items; i++)
        CHECK(sample->inputs[1].tokens[i] >= 0 && sample->inputs[1].tokens[i] < 100);
    CHECK(sample->inputs[2].items >= 1 && sample->inputs[2].items <= 3);
    for (int i = 0; i < sample->inputs[2].items * 2; i++)
        CHECK(isfinite(sample->inputs[2].features[i]));
}

static void read_record(const uint8_t *bytes, size_t size)
{
    struct wk_sample sample = {0};
    struct wk_reject reject = {0};
    struct sl_error err = {0};
    char id[256], label[64];
    enum sl_status status = wk_record_unpack(&sample, bytes, size, make_config(), 5, &err);
    CHECK(status == SL_OK || (status == SL_BAD_DATA && err.text[0] != '\0'));
    if (status == SL_OK)
        check_sample(&sample);
    wk_sample_fini(&sample);
    status = wk_record_id(id, sizeof(id), label, sizeof(label), bytes, size, &err);
    CHECK(status == SL_OK || status == SL_BAD_DATA);
    status = wk_reject_unpack(&reject, bytes, size, 5, &err);
    CHECK(status == SL_OK || status == SL_BAD_DATA);
    wk_reject_fini(&reject);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_record(data, size);
    if (size < WK_RECORD_ENVELOPE)
        return 0;
    uint8_t *bytes = sl_alloc(size, 1);
    CHECK(bytes != NULL);
    memcpy(bytes, data, size);
    uint32_t payload = (uint32_t)(size - WK_RECORD_ENVELOPE);
    uint64_t checksum = sl_hash64(bytes + WK_RECORD_ENVELOPE, payload, 5);
    memcpy(bytes, data[0] % 2 != 0 ? "SLR1" : "SLX1", 4);
    memcpy(bytes + 4, &payload, sizeof(payload));
    memcpy(bytes + 8, &checksum, sizeof(checksum));
    read_record(bytes, size);
    sl_free(bytes);
    return 0;
}
