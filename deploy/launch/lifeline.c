/* The line to a launcher on another machine: see lifeline.h. */
#include "deploy/launch/lifeline.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define WORD_MAX 16

static int signal_of(const char *word)
{
    static const struct {
        const char *word;
        int number;
    } words[] = {{"TERM", SIGTERM}, {"USR1", SIGUSR1}, {"INT", SIGINT}, {"KILL", SIGKILL}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(word, words[i].word) == 0)
            return words[i].number;
    return 0;
}

static void take(char *word, size_t *size, char c)
{
    if (c != '\n') {
        word[*size] = c;
        *size += *size < WORD_MAX - 1;
        return;
    }
    word[*size] = 0;
    *size = 0;
    int number = signal_of(word);
    if (number != 0)
        (void)kill(getpid(), number);
}

static void *watch(void *grace)
{
    char word[WORD_MAX], bytes[64];
    size_t size = 0;
    for (ssize_t got; (got = read(STDIN_FILENO, bytes, sizeof(bytes))) != 0;) {
        if (got < 0 && errno != EINTR && errno != EAGAIN)
            break;
        for (ssize_t i = 0; i < got; i++)
            take(word, &size, bytes[i]);
    }
    (void)kill(getpid(), SIGTERM);
    (void)poll(NULL, 0, (int)(intptr_t)grace);
    (void)kill(getpid(), SIGKILL);
    return NULL;
}

enum sl_status dp_lifeline_open(int grace_ms, struct sl_error *err)
{
    sigset_t all, before;
    pthread_t thread;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    errno = pthread_create(&thread, NULL, watch, (void *)(intptr_t)grace_ms);
    int failed = errno;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0)
        return sl_fail_errno(err, "cannot watch standard input");
    (void)pthread_detach(thread);
    return SL_OK;
}
