/* Any bytes as a config: an error at worst; what loads must dump and load again to the same text. */
#include "common/config.h"
#include "common/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sl_config *config = NULL, *again = NULL;
    struct sl_error err = {0};
    if (sl_config_parse(&config, (const char *)data, size, "fuzz.yaml", NULL, NULL, 0, false, &err) != SL_OK)
        return 0;
    char *first = NULL, *second = NULL;
    if (sl_config_dump(&first, config, &err) != SL_OK ||
            sl_config_parse(&again, first, strlen(first), "dump.yaml", NULL, NULL, 0, false, &err) != SL_OK ||
            sl_config_dump(&second, again, &err) != SL_OK || strcmp(first, second) != 0)
        abort();
    sl_free(first);
    sl_free(second);
    sl_config_destroy(config);
    sl_config_destroy(again);
    return 0;
}
