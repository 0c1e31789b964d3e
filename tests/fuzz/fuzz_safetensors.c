/* Any bytes as a safetensors file: the header is refused or every tensor of it can be read. */
#include "common/memory.h"
#include "common/safetensors.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sl_safetensors *file = NULL;
    struct sl_error err = {0};
    if (sl_safetensors_open_memory(&file, data, size, "input", &err) != SL_OK) {
        assert(err.text[0] != '\0');
        return 0;
    }
    for (int i = 0; i < sl_safetensors_count(file); i++) {
        const struct sl_tensor *tensor = sl_safetensors_at(file, i);
        void *buffer = sl_alloc(tensor->size, 1);
        assert(buffer != NULL && sl_safetensors_find(file, tensor->name) == tensor);
        assert(sl_safetensors_read(file, tensor, buffer, tensor->size, &err) == SL_OK);
        sl_free(buffer);
    }
    sl_safetensors_close(file);
    return 0;
}
