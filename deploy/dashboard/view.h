#pragma once
/* What the page reads: messages of the status socket as JSON. Field names are those of proto/status.proto; a field that was not sent is left out, lists that say
 * "by branch" or "by modality" stay lists. Numbers are written so that they read back as the same double.
 *
 *     dp_view_status(&json, NULL, status);       // {"time":…,"state":"training","step":120,"last_step":{…},…}
 *
 * Everything comes from a peer: strings are escaped, lists are cut at the limits below.
 */
#include "common/json.h"
#include "proto/status.pb-c.h"

#define DP_VIEW_LIST_MAX 1024     /* workers, servers, snapshots, events of one message */
#define DP_VIEW_NUMBERS_MAX 65536 /* numbers of one list: a confusion matrix of the most labels */

void dp_view_status(struct sl_json *json, const char *key, const Shelflife__Status__Status *status);
void dp_view_step(struct sl_json *json, const char *key, const Shelflife__Status__Step *step);
void dp_view_validation(
        struct sl_json *json, const char *key, const Shelflife__Status__Validation *validation);
void dp_view_event(struct sl_json *json, const char *key, const Shelflife__Status__Event *event);
