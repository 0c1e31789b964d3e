#pragma once
/* Any protobuf-c message as JSON, by its descriptor: field names as in the .proto, lists as arrays, absent fields left out, fixed64 (hashes) as "0x…" text because
 * JavaScript's numbers end at 2^53, numbers that are not finite as null.
 *
 *     sl_proto_json(&json, NULL, &status->base);             // {"time":1795478400.5,"state":"training",…}
 */
#include "common/json.h"

#include <protobuf-c/protobuf-c.h>

/* sl_proto_json writes message as one object. key as in json.h. Failures stick to json. */
void sl_proto_json(struct sl_json *json, const char *key, const ProtobufCMessage *message);
