#pragma once
/* Whom servers let in: the public keys in a folder, one NAME.pub for each client.
 *
 *     sl_allow_list_open(&list, "keys/allowed", err);
 *     const char *name = sl_allow_list_find(list, key);      // NULL: nobody that we know
 *
 * The folder may change while servers run. A file that comes or goes counts from the next look on; one that is changed in place
 * within five seconds. Whoever is connected already stays until its connection ends.
 * Thread: one.
 */
#include "common/error.h"
#include "common/keys.h"

#include <stdint.h>

#define SL_ALLOWED_MAX 65536 /* clients */

struct sl_allow_list;

/* sl_allow_list_open reads the folder. Names that begin with '.' or do not end with ".pub" are passed over. Owns: *ret_list, close
 * it. Errors: KEYS when the folder is missing or a file in it is no key, NO_MEMORY. */
SL_MUST_USE enum sl_status sl_allow_list_open(
        struct sl_allow_list **ret_list, const char *dir, struct sl_error *err);
void sl_allow_list_close(struct sl_allow_list *list); /* NULL is fine */

/* sl_allow_list_find gives the name of the client with this key, or NULL. It looks first whether the folder has changed; files that
 * are no keys are then logged and left out, and without the folder nobody is known. Owns: borrowed until the next call. */
const char *sl_allow_list_find(struct sl_allow_list *list, const uint8_t key[static SL_KEY_SIZE]);

int sl_allow_list_count(const struct sl_allow_list *list);
