#pragma once
/* A golden set in memory: the config, layout and files of a folder as ../shared/golden/README.md describes
 * it. For the golden programs alone: a set that does not fit ends the program with a line that says why. */
#include "common/config.h"
#include "common/layout.h"
#include "common/safetensors.h"
#include "worker/model/batch.h"

#include <jansson.h>

#define GOLDEN_SKIPPED 77 /* exit status of a test whose set is absent */

struct golden_set {
    const char *folder;
    json_t *expected;         /* expected.json */
    struct sl_config *config; /* of expected.json's config; loss weights 1, one slot of the whole batch */
    struct sl_layout *layout;
};

/* golden_open loads the set; false where the folder has no expected.json, after a line that says so. */
bool golden_open(struct golden_set *set, const char *folder);
void golden_close(struct golden_set *set);

/* golden_file opens FOLDER/name. */
struct sl_safetensors *golden_file(const struct golden_set *set, const char *name);

/* golden_params reads all parameters of a file into a new flat vector. Owns: sl_free it. */
float *golden_params(const struct golden_set *set, const char *name);

/* golden_tensor reads one tensor as float, or gives NULL where the file does not have it. Owns: sl_free it. */
float *golden_tensor(const struct sl_safetensors *file, size_t *ret_count, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* golden_batch reads FOLDER/batch<index>.safetensors: masked items are left out. Owns: wk_batch_destroy it. */
struct wk_batch *golden_batch(const struct golden_set *set, int index);

double golden_norm(const float *values, size_t count);

/* golden_relative is ‖a − b‖ / max(‖b‖, least). */
double golden_relative(const float *a, const float *b, size_t count, double least);

/* golden_die prints a line and ends the program with status 1. */
void golden_die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
