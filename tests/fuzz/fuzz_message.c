/* Any bytes as a header: an error at worst; what decodes encodes again to something that decodes to the same. */
#include "common/codec.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sl_message *message = NULL, *again = NULL;
    struct sl_error err = {0};
    unsigned char bytes[SL_HEADER_SIZE_MAX];
    size_t packed = 0;
    if (sl_codec_decode(&message, data, size, &err) != SL_OK)
        return 0;
    if (sl_codec_encode(message, bytes, &packed, &err) != SL_OK ||
            sl_codec_decode(&again, bytes, packed, &err) != SL_OK)
        abort();
    if (memcmp(&message->stats, &again->stats, sizeof(message->stats)) != 0 &&
            message->kind == SL_MESSAGE_STATS)
        abort();
    if (memcmp(&message->commit, &again->commit, sizeof(message->commit)) != 0 &&
            message->kind == SL_MESSAGE_COMMIT)
        abort();
    if (message->step != again->step || message->kind != again->kind ||
            strcmp(message->text, again->text) != 0)
        abort();
    sl_message_destroy(message);
    sl_message_destroy(again);
    return 0;
}
