/* The hosts file and the plan: see hosts.h. */
#include "deploy/launch/hosts.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 4
#define BLANK " \t\r"

struct word {
    const char *begin;
    size_t size;
};

/* Cuts the line before its comment into words. Returns their number, WORDS_MAX when there are as many or more. */
static int split(struct word words[WORDS_MAX], const char *line, size_t size)
{
    const char *comment = memchr(line, '#', size), *end = comment != NULL ? comment : line + size;
    int count = 0;
    for (const char *c = line; c < end && count < WORDS_MAX;) {
        size_t blank = strspn(c, BLANK), word = strcspn(c + blank, BLANK "\n#");
        c += blank;
        if (c >= end || word == 0)
            break;
        words[count++] = (struct word){c, word};
        c += word;
    }
    return count;
}

static bool is_number(struct word word)
{
    for (size_t i = 0; i < word.size; i++)
        if (word.begin[i] < '0' || word.begin[i] > '9')
            return false;
    return true;
}

/* ssh would take a name that begins with '-' for an option, and a blank or control character in one is never meant. */
static bool is_host(struct word word)
{
    for (size_t i = 0; i < word.size; i++)
        if ((unsigned char)word.begin[i] <= ' ' || strchr("'\"\\$`;&|<>(){}*?!", word.begin[i]) != NULL)
            return false;
    return word.size < DP_HOST_MAX && word.begin[0] != '-' && word.begin[word.size - 1] != '@';
}

static enum sl_status read_line(
        struct dp_host *host, const struct word *words, int count, const char *where, struct sl_error *err)
{
    if (count > 3 || !is_host(words[0]))
        return sl_fail(err, SL_USAGE, "%s: expected HOST [server|worker] [SLOTS]", where);
    *host = (struct dp_host){.slots = 1};
    memcpy(host->name, words[0].begin, words[0].size);
    for (int i = 1; i < count; i++) {
        struct word w = words[i];
        if (w.size == 6 && memcmp(w.begin, "server", 6) == 0 && i == 1)
            host->role = DP_ROLE_SERVER;
        else if (w.size == 6 && memcmp(w.begin, "worker", 6) == 0 && i == 1)
            host->role = DP_ROLE_WORKER;
        else if (is_number(w) && w.size < 5 && i == count - 1)
            host->slots = (int)strtol(w.begin, NULL, 10);
        else
            return sl_fail(err, SL_USAGE, "%s: \"%.*s\": expected HOST [server|worker] [SLOTS]", where,
                    (int)w.size, w.begin);
    }
    if (host->slots < 1 || host->slots > DP_SLOTS_MAX)
        return sl_fail(err, SL_USAGE, "%s: expected 1 to %d slots", where, DP_SLOTS_MAX);
    return SL_OK;
}

enum sl_status dp_hosts_parse(
        struct dp_hosts *ret_hosts, const char *text, const char *name, struct sl_error *err)
{
    ret_hosts->count = 0;
    for (int number = 1; *text != 0; number++) {
        struct word words[WORDS_MAX];
        char where[256];
        size_t size = strcspn(text, "\n");
        int count = split(words, text, size);
        (void)snprintf(where, sizeof(where), "%.200s line %d", name, number);
        if (count > 0 && ret_hosts->count == DP_HOSTS_MAX)
            return sl_fail(err, SL_USAGE, "%s: more than %d hosts", where, DP_HOSTS_MAX);
        if (count > 0) {
            enum sl_status status = read_line(&ret_hosts->items[ret_hosts->count], words, count, where, err);
            if (status != SL_OK)
                return status;
            ret_hosts->count++;
        }
        text += size + (text[size] == '\n');
    }
    if (ret_hosts->count == 0)
        return sl_fail(
                err, SL_USAGE, "%.200s names no host: expected lines HOST [server|worker] [SLOTS]", name);
    return SL_OK;
}

static enum sl_status put(struct dp_plan *plan, int host, enum dp_role role, struct sl_error *err)
{
    if (plan->count == DP_PROCESSES_MAX)
        return sl_fail(err, SL_USAGE,
                "more than %d processes: start some of the workers apart, with shelflife worker",
                DP_PROCESSES_MAX);
    int rank = role == DP_ROLE_SERVER ? plan->servers++ : plan->workers++;
    plan->items[plan->count++] = (struct dp_process){.host = host, .role = role, .rank = rank};
    return SL_OK;
}

enum sl_status dp_hosts_plan(
        struct dp_plan *ret_plan, const struct dp_hosts *hosts, int servers, struct sl_error *err)
{
    int slots = 0, host = 0;
    enum sl_status status = SL_OK;
    ret_plan->count = ret_plan->servers = ret_plan->workers = 0;
    for (int i = 0; i < hosts->count; i++)
        slots += hosts->items[i].role == DP_ROLE_SERVER ? hosts->items[i].slots : 0;
    int wanted = servers > 0 ? servers : slots > 0 ? slots : 1;
    if (slots > 0 && wanted > slots)
        return sl_fail(
                err, SL_USAGE, "%d servers are wanted and the hosts file has %d server slots", wanted, slots);
    for (; status == SL_OK && ret_plan->servers < wanted; host = (host + 1) % hosts->count) {
        int room = slots > 0 ? (hosts->items[host].role == DP_ROLE_SERVER ? hosts->items[host].slots : 0) : 1;
        for (int i = 0; status == SL_OK && i < room && ret_plan->servers < wanted; i++)
            status = put(ret_plan, host, DP_ROLE_SERVER, err);
    }
    for (host = 0; host < hosts->count; host++)
        for (int i = 0;
                status == SL_OK && hosts->items[host].role != DP_ROLE_SERVER && i < hosts->items[host].slots;
                i++)
            status = put(ret_plan, host, DP_ROLE_WORKER, err);
    if (status == SL_OK && ret_plan->workers == 0)
        return sl_fail(err, SL_USAGE, "all hosts of the file are servers: name at least one for workers");
    return status;
}

const char *dp_host_address(const struct dp_host *host)
{
    const char *at = strrchr(host->name, '@');
    return at == NULL ? host->name : at + 1;
}
