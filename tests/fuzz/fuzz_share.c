/* Any bytes as references to a peer's memory: an error, or a frame that can be read to its end. */
#include "common/share.h"
#include "common/shared_heap.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEGMENT ((uint64_t)1 << 20)
#define WORKER ((struct sl_address){SL_ROLE_WORKER, 42})

/* Both ends in this process, anew for each input: numbers only grow. */
static void open_both(struct sl_share **server, struct sl_share **client)
{
    char endpoint[64];
    struct sl_error err = {0};
    (void)snprintf(endpoint, sizeof(endpoint), "tcp://fuzz:%d", (int)getpid());
    if (sl_shared_heap_open(SEGMENT, &err) != SL_OK)
        abort();
    *server = sl_share_listen(endpoint);
    *client = sl_share_connect(endpoint, SL_ROLE_WORKER, WORKER.id);
    if (*server == NULL || *client == NULL)
        abort();
    sl_share_heard(*client, SL_COORDINATOR, 0);
    sl_share_tend(*server);
    sl_share_tend(*client);
    if (sl_share_proof(*server, WORKER) == 0)
        abort();
    sl_share_heard(*client, SL_COORDINATOR, sl_share_proof(*server, WORKER)); /* its memory is offered */
}

static unsigned read_all(const struct sl_frame *frame)
{
    unsigned sum = 0;
    for (size_t i = 0; i < frame->size; i++)
        sum += ((const unsigned char *)frame->data)[i];
    return sum;
}

/* References one after the other, each with a byte before it: bit 0: it is cut short; bit 1: it is held until the end. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sl_share *server = NULL, *client = NULL;
    struct sl_frame held[16];
    int count = 0;
    volatile unsigned sum = 0;
    open_both(&server, &client);
    for (size_t at = 0; at + 1 + SL_REFERENCE_SIZE <= size; at += 1 + SL_REFERENCE_SIZE) {
        struct sl_error err = {0};
        struct sl_frame frame = {0};
        size_t length = SL_REFERENCE_SIZE - (data[at] & 1U);
        if (sl_share_borrow(server, WORKER, data + at + 1, length, &frame, &err) != SL_OK)
            continue;
        if (frame.size > SEGMENT || !frame.buffer->read_only)
            abort();
        sum += read_all(&frame);
        if ((data[at] & 2U) != 0 && count < 16)
            held[count++] = frame;
        else
            sl_buffer_release(frame.buffer);
    }
    sl_share_close(client);
    sl_share_close(server);
    while (count > 0)
        sl_buffer_release(held[--count].buffer);
    return 0;
}
