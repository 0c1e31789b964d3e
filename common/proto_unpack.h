#pragma once
/* Unpacking protobuf-c messages from others: with a cap on the memory that they may ask for, because two bytes on the wire can become sixty-five.
 *
 *     ProtobufCMessage *message = sl_proto_unpack(&shelflife__status__status__descriptor, bytes, size, 16 << 20);
 *     …
 *     sl_proto_free(message);
 */
#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

/* sl_proto_unpack gives the message, or NULL when the bytes make none, or need more than budget bytes, or memory is out. Lists are as long as they came, texts are
 * any bytes up to a 0: the reader checks both. Owns: sl_proto_free it. */
ProtobufCMessage *sl_proto_unpack(
        const ProtobufCMessageDescriptor *descriptor, const void *bytes, size_t size, size_t budget);
void sl_proto_free(ProtobufCMessage *message); /* NULL is fine */
