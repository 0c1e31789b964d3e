/* Requests to `shelflife serve`: any bytes are an error at worst, and what is taken keeps its limits. The first byte chooses the form: JSON, or a protobuf header
 * whose length the next byte gives, with the rest in frames. */
#include "deploy/serve/request.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct dp_request *request)
{
    if (request->upload_count > DP_REQUEST_UPLOADS_MAX ||
            (request->id != NULL && strlen(request->id) > WK_MANIFEST_ID_MAX))
        abort();
    for (int i = 0; i < request->upload_count; i++) {
        const struct dp_upload *upload = &request->uploads[i];
        uint64_t bytes = upload->kind == DP_UPLOAD_ROWS ? 4 : 1;
        if (upload->kind != DP_UPLOAD_ROWS && upload->kind != DP_UPLOAD_FRAMES)
            continue;
        for (int d = 0; d < upload->rank; d++)
            bytes *= (uint64_t)upload->shape[d];
        if (bytes != upload->size || memchr(upload->name, 0, sizeof(upload->name)) == NULL)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sl_error err = {0};
    struct dp_request request = {0};
    enum sl_status status = SL_OK;
    if (size < 2)
        return 0;
    if (data[0] == '{') {
        status = dp_request_parse(&request, (const char *)data, size, &err);
    } else {
        size_t header = data[1] < size - 2 ? data[1] : size - 2, rest = size - 2 - header;
        const uint8_t *at = data + 2 + header;
        const struct dp_frame frames[] = {{at, rest / 2}, {at + rest / 2, rest - rest / 2}};
        status = dp_request_unpack(&request, data + 2, header, frames, data[0] % 3, &err);
    }
    if (status == SL_OK)
        check(&request);
    else if (err.text[0] == 0)
        abort();
    dp_request_fini(&request);
    return 0;
}
