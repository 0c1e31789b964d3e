/* Bodies of HTTP requests: see form.h. */
#include "deploy/serve/form.h"

#include "common/memory.h"

#include <string.h>

#define FIRST_CAPACITY 4096

void dp_form_init(struct dp_form *form, size_t limit)
{
    *form = (struct dp_form){.limit = limit};
}

void dp_form_fini(struct dp_form *form)
{
    for (int i = 0; i < form->count; i++)
        sl_free(form->parts[i].bytes);
    *form = (struct dp_form){.limit = form->limit};
}

static enum sl_status begin_part(struct dp_form *form, const char *name, struct sl_error *err)
{
    if (strlen(name) >= SL_NAME_MAX)
        return sl_fail(err, SL_USAGE,
                "a part's name has %zu bytes; expected request, video or a modality's name", strlen(name));
    const struct dp_form_part *last = form->count > 0 ? &form->parts[form->count - 1] : NULL;
    if (last != NULL && last->size == 0 && strcmp(last->name, name) == 0)
        return SL_OK; /* libmicrohttpd begins twice when a piece ends shortly after the part's header lines */
    for (int i = 0; i < form->count; i++)
        if (strcmp(form->parts[i].name, name) == 0)
            return sl_fail(err, SL_USAGE, "the part \"%s\" comes twice", name);
    if (form->count == DP_FORM_PARTS_MAX)
        return sl_fail(err, SL_USAGE, "the form has more than %d parts", DP_FORM_PARTS_MAX);
    struct dp_form_part *part = &form->parts[form->count++];
    *part = (struct dp_form_part){0};
    memcpy(part->name, name, strlen(name) + 1);
    return SL_OK;
}

/* Grows by doubling: a body's stated size is a claim, and memory follows what has come. */
static enum sl_status grow(struct dp_form_part *part, size_t wanted, struct sl_error *err)
{
    size_t capacity = part->capacity == 0 ? FIRST_CAPACITY : part->capacity;
    while (capacity < wanted)
        capacity *= 2;
    if (capacity == part->capacity)
        return SL_OK;
    char *bytes = sl_realloc(part->bytes, capacity, 1);
    if (bytes == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a request of %zu bytes", wanted);
    part->bytes = bytes;
    part->capacity = capacity;
    return SL_OK;
}

enum sl_status dp_form_part(struct dp_form *form, const char *name, bool begins, const char *bytes,
        size_t size, struct sl_error *err)
{
    enum sl_status status = begins ? begin_part(form, name, err) : SL_OK;
    if (status != SL_OK)
        return status;
    if (size > form->limit - form->size)
        return sl_fail(err, SL_AGAIN,
                "the request has more than %zu bytes; see --max-request-mb of the server", form->limit);
    struct dp_form_part *part = &form->parts[form->count - 1];
    status = grow(part, part->size + size + 1, err);
    if (status != SL_OK)
        return status;
    memcpy(part->bytes + part->size, bytes, size);
    part->size += size;
    part->bytes[part->size] = 0;
    form->size += size;
    return SL_OK;
}

enum sl_status dp_form_finish(struct dp_form *form, struct dp_job *job, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    for (int i = 0; i < form->count && status == SL_OK; i++) {
        struct dp_form_part *part = &form->parts[i];
        if (part->bytes == NULL)
            continue; /* no byte came */
        if (strcmp(part->name, DP_FORM_REQUEST) == 0) {
            job->text_size = part->size;
            job->text = SL_TAKE(part->bytes);
        } else {
            status = dp_request_upload(&job->request, part->name, &part->bytes, part->size, err);
        }
    }
    if (status == SL_OK && job->text == NULL && job->request.upload_count == 0)
        status = sl_fail(err, SL_USAGE,
                "the request is empty; expected a JSON object, or a form with the parts request, video or a "
                "modality's name");
    return status;
}
