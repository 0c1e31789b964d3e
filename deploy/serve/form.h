#pragma once
/* The body of one HTTP request while it comes in: JSON, or the parts of a form (multipart/form-data). Nothing of HTTP's own server is known here.
 *
 *     dp_form_init(&form, limit);
 *     s = dp_form_part(&form, "video", bytes, size, &held, err);      // again for each piece of a part, in order
 *     s = dp_form_finish(&form, job, err);
 *     dp_form_fini(&form);
 *
 * A plain JSON body is a form of the one part "request". Memory: what came, and never more than limit bytes; held counts them for a budget over all requests.
 */
#include "deploy/serve/service.h"

#define DP_FORM_PARTS_MAX (DP_REQUEST_UPLOADS_MAX + 1)
#define DP_FORM_REQUEST "request"

struct dp_form_part {
    char name[SL_NAME_MAX];
    char *bytes; /* owned; a 0 follows */
    size_t size, capacity;
};

struct dp_form {
    struct dp_form_part parts[DP_FORM_PARTS_MAX];
    int count;
    size_t size, limit; /* bytes of all parts */
};

void dp_form_init(struct dp_form *form, size_t limit);
void dp_form_fini(struct dp_form *form);

/* dp_form_part appends a piece to a part; `begins` tells that it is the first one of its part. Errors: USAGE (two parts of one name, too many, a bad name), AGAIN beyond the
 * form's limit, NO_MEMORY. */
SL_MUST_USE enum sl_status dp_form_part(struct dp_form *form, const char *name, bool begins,
        const char *bytes, size_t size, struct sl_error *err);

/* dp_form_finish hands the parts to the job: "request" as its text, the others as uploads. Errors: USAGE. */
SL_MUST_USE enum sl_status dp_form_finish(struct dp_form *form, struct dp_job *job, struct sl_error *err);
