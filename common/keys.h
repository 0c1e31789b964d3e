#pragma once
/* CURVE keys in a folder: made by `shelflife keygen`, read by every process that talks over the network.
 *
 *     server.key, server.pub      the server's pair; workers know a server by server.pub
 *     client.key, client.pub      a worker's pair
 *     allowed/NAME.pub            whom servers let in (allow_list.h)
 *     clients/NAME/               client.key, client.pub and server.pub: all that one more machine needs
 *
 *     sl_keys_load(&keys, config->cluster.keys, SL_KEYS_SERVER, err);
 *     sl_transport_create_secure(&transport, keys, err);
 *
 * A file has comment lines ("# text") and one line of 40 characters in Z85, ZeroMQ's base-85 code for 32 bytes. A secret
 * that its group or others may read is refused. While loaded a secret lies in memory of its own, which is not dumped and,
 * where limits allow, not swapped; it is overwritten when it is no longer used. It is in no log, error or argument.
 */
#include "common/error.h"

#define SL_KEY_SIZE 32        /* bytes */
#define SL_KEY_TEXT_SIZE 41   /* in Z85, with the final 0 */
#define SL_CLIENT_NAME_MAX 65 /* with the final 0 */

enum sl_keys_role {
    SL_KEYS_CLIENT, /* client.key and server.pub: connects */
    SL_KEYS_SERVER, /* server.key and allowed: listens, and connects to other servers of the same key */
};

struct sl_keys;

/* sl_keys_generate makes a folder with fresh pairs for a server and a client; whole or not at all, its parents if need be.
 * Errors: USAGE when it is there and not empty (keys are never overwritten), DISK, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status sl_keys_generate(const char *dir, struct sl_error *err);

/* sl_keys_add_client makes clients/NAME with a fresh pair and allows it. Errors: USAGE when the name is taken or not a word
 * of letters, digits, '.', '_' and '-'; KEYS when dir has no server.pub; DISK, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status sl_keys_add_client(const char *dir, const char *name, struct sl_error *err);

/* sl_keys_load reads what the role needs and checks it: permissions, form, that a .pub belongs to its .key. Owns: *ret_keys,
 * destroy it. Errors: KEYS with what to do, NO_MEMORY. */
SL_MUST_USE enum sl_status sl_keys_load(
        struct sl_keys **ret_keys, const char *dir, enum sl_keys_role role, struct sl_error *err);
void sl_keys_destroy(struct sl_keys *keys); /* overwrites the secret; NULL is fine */

/* sl_key_read_public reads one public key. Errors: KEYS with the path and what is wrong, NO_MEMORY. */
SL_MUST_USE enum sl_status sl_key_read_public(
        char ret_text[static SL_KEY_TEXT_SIZE], const char *path, struct sl_error *err);

/* These borrow from keys. */
enum sl_keys_role sl_keys_role(const struct sl_keys *keys);
const char *sl_keys_folder(const struct sl_keys *keys);
const char *sl_keys_public(const struct sl_keys *keys); /* of the role's own pair */
const char *sl_keys_secret(const struct sl_keys *keys);
const char *sl_keys_server(const struct sl_keys *keys); /* the server's public key */
