/* Any bytes as a snapshot's manifest: as they are, and with a good checksum put behind them so that the search gets past it. What is read is
 * written again and must read back the same. */
#include "common/memory.h"
#include "ps/manifest.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *text, size_t size)
{
    struct ps_manifest manifest = {0}, again = {0};
    struct sl_error err = {0};
    enum sl_status s = ps_manifest_read(&manifest, text, size, "input", &err);
    assert((s == SL_OK) == (err.text[0] == '\0'));
    if (s != SL_OK)
        return;
    char *written = NULL;
    size_t written_size = 0;
    s = ps_manifest_write(&written, &written_size, &manifest, &err);
    if (s == SL_OK) { /* a state that is too long is refused */
        s = ps_manifest_read(&again, written, written_size, "again", &err);
        assert(s == SL_OK && again.training.step == manifest.training.step);
        assert(memcmp(again.files, manifest.files, sizeof(again.files)) == 0);
        assert(memcmp(&again.training.modulation, &manifest.training.modulation,
                       sizeof(again.training.modulation)) == 0);
        ps_manifest_fini(&again);
    }
    sl_free(written);
    ps_manifest_fini(&manifest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = sl_alloc(size + PS_MANIFEST_SEAL_SIZE, 1);
    assert(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    check(text, size);
    check(text, ps_manifest_seal(text, size));
    sl_free(text);
    return 0;
}
