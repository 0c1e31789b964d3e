/* Any bytes as the head of an .npy file: an error, or a header whose numbers agree with the file's size. */
#include "common/npy.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sl_npy_header header = {0};
    struct sl_error err = {0};
    enum sl_status status = sl_npy_parse(&header, data, size, size, "fuzz", &err);
    int64_t count = 1;
    for (int i = 0; i < header.rank; i++)
        count *= header.shape[i];
    bool right = status == SL_OK
                         ? count == header.count && header.rank <= SL_NPY_RANK_MAX &&
                                   header.data_offset + (size_t)count * (size_t)header.item_size == size
                         : status == SL_BAD_DATA && err.text[0] != '\0';
    if (!right) {
        fprintf(stderr, "status %d, %s\n", (int)status, err.text);
        abort();
    }
    return 0;
}
