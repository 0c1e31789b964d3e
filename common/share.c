/* Channels, greetings and loans: see share.h. */
#include "common/share.h"

#include "common/memory.h"
#include "common/process.h"
#include "common/random.h"
#include "common/shared_heap.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#define GREETING 0x656c7572616d6531ULL /* no other program's first words */
#define OFFER 0x656c7572616d6532ULL
#define PENDING_MAX 16 /* accepted and not greeted yet */
#define PAGE 4096

/* What a side writes first, with the descriptor of its notes. */
struct greeting {
    uint64_t greeting;
    uint32_t protocol, role;
    uint64_t incarnation; /* 0 from the bound side */
};

/* And then, once the other side has proven who it is, with the descriptor of its segment. */
struct offer {
    uint64_t offer, size;
};

/* The page of notes of a lender: the other side writes what it returns. */
struct notes {
    uint64_t proof;
    _Atomic uint64_t returned[SL_SHARE_LOANS_MAX]; /* at number % SL_SHARE_LOANS_MAX */
};

#define NOTES_SIZE ((sizeof(struct notes) + PAGE - 1) / PAGE * PAGE)

/* What is the other side's, for as long as anything of it is read. */
struct theirs {
    _Atomic int references; /* the channel's, and one of each borrowed frame */
    int fd;              /* of the unix socket: its end tells the other side that nothing is read any more */
    const char *segment; /* NULL until it is offered */
    uint64_t segment_size;
    struct notes *notes;
    uint64_t proof; /* as it was when it came */
};

struct borrowed {
    struct theirs *theirs;
    uint64_t number;
};

struct channel {
    struct channel *next;
    struct sl_address peer;
    int fd;                /* until theirs has it; -1 */
    struct theirs *theirs; /* NULL until greeted */
    struct notes *notes;   /* ours */
    uint64_t proof;
    int notes_fd;
    bool proven, over;
    struct sl_buffer **loans;     /* (SL_SHARE_LOANS_MAX,), at number % SL_SHARE_LOANS_MAX; NULL = not lent */
    uint64_t oldest, next_number; /* numbers that may be lent: [oldest, next_number) */
    int lent;
    uint64_t heard; /* the highest number of theirs */
};

struct sl_share {
    bool listens;
    int epoll, listener;
    struct sockaddr_un name;
    socklen_t name_size;
    enum sl_role role; /* of a connected one */
    uint64_t incarnation;
    bool tried;
    int pending[PENDING_MAX];
    int pending_count, channel_count;
    struct channel *channels;
};

static struct {
    pthread_mutex_t lock;
    _Atomic int count;
    struct channel *channels;
} abandoned = {.lock = PTHREAD_MUTEX_INITIALIZER};

bool sl_share_allows(enum sl_message_kind kind)
{
    return kind == SL_MESSAGE_PUSH || kind == SL_MESSAGE_PARAMS || kind == SL_MESSAGE_LOAD ||
           kind == SL_MESSAGE_SAVED;
}

/* ---- what is theirs ---- */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static void release_theirs(struct theirs *theirs)
{
    if (theirs == NULL || atomic_fetch_sub_explicit(&theirs->references, 1, memory_order_acq_rel) > 1)
        return;
    if (theirs->segment != NULL)
        (void)munmap((void *)(uintptr_t)theirs->segment, theirs->segment_size);
    if (theirs->notes != NULL)
        (void)munmap(theirs->notes, NOTES_SIZE);
    close_fd(&theirs->fd);
    sl_free(theirs);
}

/* Memory of this machine whose size cannot change any more: reading it never ends in SIGBUS. */
static void *map_sealed(int fd, uint64_t size, int protection)
{
    struct stat stat;
    struct statfs system;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(fd, &stat) != 0 || (uint64_t)stat.st_size < size ||
            fstatfs(fd, &system) != 0 || system.f_type != TMPFS_MAGIC)
        return NULL;
    void *at = sl_memory_map(fd, size, protection);
    if (at != NULL)
        (void)madvise(at, size, MADV_DONTFORK);
    return at;
}

/* Owns: takes the unix socket when it succeeds. */
static struct theirs *map_notes(int notes_fd, int *fd)
{
    struct theirs *theirs = sl_alloc(1, sizeof(*theirs));
    if (theirs == NULL)
        return NULL;
    atomic_init(&theirs->references, 1);
    theirs->fd = -1;
    theirs->notes = map_sealed(notes_fd, NOTES_SIZE, PROT_READ | PROT_WRITE);
    if (theirs->notes == NULL) {
        release_theirs(theirs);
        return NULL;
    }
    theirs->proof = theirs->notes->proof;
    theirs->fd = *fd;
    *fd = -1;
    return theirs;
}

static void return_number(struct theirs *theirs, uint64_t number)
{
    atomic_store_explicit(
            &theirs->notes->returned[number % SL_SHARE_LOANS_MAX], number, memory_order_release);
}

static void give_back(void *context)
{
    struct borrowed *borrowed = context;
    return_number(borrowed->theirs, borrowed->number);
    release_theirs(borrowed->theirs);
    sl_free(borrowed);
}

/* ---- words ---- */

/* One packet with one descriptor. */
static bool send_word(int fd, const void *word, size_t size, int passed)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec part = {(void *)(uintptr_t)word, size};
    struct msghdr message = {.msg_iov = &part,
            .msg_iovlen = 1,
            .msg_control = control.bytes,
            .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(passed));
    memcpy(CMSG_DATA(header), &passed, sizeof(passed));
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size;
}

/* AGAIN: nothing there yet. BAD_DATA: the end, or something else. Owns: on OK *ret_passed is the caller's. */
static enum sl_status receive_word(int fd, void *word, size_t size, int *ret_passed)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))]; /* further ones are closed by the kernel */
        struct cmsghdr align;
    } control = {0};
    struct iovec part = {word, size};
    struct msghdr message = {.msg_iov = &part,
            .msg_iovlen = 1,
            .msg_control = control.bytes,
            .msg_controllen = sizeof(control.bytes)};
    ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return SL_AGAIN;
    struct cmsghdr *header = got < 0 ? NULL : CMSG_FIRSTHDR(&message);
    SL_AUTO_CLOSE int passed = -1;
    if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
            header->cmsg_len >= CMSG_LEN(sizeof(passed)))
        memcpy(&passed, CMSG_DATA(header), sizeof(passed));
    if (got != (ssize_t)size || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || passed < 0)
        return SL_BAD_DATA;
    *ret_passed = passed;
    passed = -1;
    return SL_OK;
}

/* ---- channels ---- */

static void return_loan(struct channel *channel, uint64_t number)
{
    struct sl_buffer **loan = &channel->loans[number % SL_SHARE_LOANS_MAX];
    if (*loan == NULL)
        return;
    sl_buffer_release(SL_TAKE(*loan));
    channel->lent--;
}

static void collect(struct channel *channel)
{
    if (channel->lent == 0)
        return;
    for (uint64_t n = channel->oldest; n < channel->next_number; n++)
        if (atomic_load_explicit(&channel->notes->returned[n % SL_SHARE_LOANS_MAX], memory_order_acquire) ==
                n)
            return_loan(channel, n);
    while (channel->oldest < channel->next_number &&
            channel->loans[channel->oldest % SL_SHARE_LOANS_MAX] == NULL)
        channel->oldest++;
}

/* Nobody reads what is lent: all of it came back, or the other side has ended. */
static void destroy(struct channel *channel)
{
    for (uint64_t n = channel->oldest; channel->loans != NULL && n < channel->next_number; n++)
        return_loan(channel, n);
    if (channel->notes != NULL)
        (void)munmap(channel->notes, NOTES_SIZE);
    release_theirs(channel->theirs);
    close_fd(&channel->notes_fd);
    close_fd(&channel->fd);
    sl_free((void *)channel->loans);
    sl_free(channel);
}

static struct notes *make_notes(int *ret_fd, uint64_t *ret_proof)
{
    struct sl_error ignored = {0};
    SL_AUTO_CLOSE int fd = memfd_create("shelflife-notes", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || sl_process_draw(ret_proof, &ignored) != SL_OK ||
            fallocate(fd, 0, 0, (off_t)NOTES_SIZE) != 0 ||
            fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return NULL;
    void *at = mmap(NULL, NOTES_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return NULL;
    (void)madvise(at, NOTES_SIZE, MADV_DONTFORK);
    struct notes *notes = at;
    notes->proof = *ret_proof;
    *ret_fd = fd;
    fd = -1;
    return notes;
}

/* Owns: takes fd when it succeeds. */
static struct channel *make_channel(int *fd)
{
    struct channel *channel = sl_alloc(1, sizeof(*channel));
    if (channel == NULL)
        return NULL;
    channel->fd = channel->notes_fd = -1;
    channel->oldest = channel->next_number = 1;
    channel->loans = sl_alloc(SL_SHARE_LOANS_MAX, sizeof(struct sl_buffer *));
    channel->notes = make_notes(&channel->notes_fd, &channel->proof);
    if (channel->loans == NULL || channel->notes == NULL) {
        destroy(channel);
        return NULL;
    }
    channel->fd = *fd;
    *fd = -1;
    return channel;
}

static void leave(struct channel *channel)
{
    collect(channel);
    if (channel->lent == 0 || channel->over) {
        destroy(channel);
        return;
    }
    (void)pthread_mutex_lock(&abandoned.lock);
    channel->next = abandoned.channels;
    abandoned.channels = channel;
    atomic_fetch_add(&abandoned.count, 1);
    (void)pthread_mutex_unlock(&abandoned.lock);
}

/* After the greeting comes the offer of the segment, once, and then nothing but the end. False: it is the end. */
static bool take_word(struct channel *channel)
{
    struct theirs *theirs = channel->theirs;
    struct offer offer;
    SL_AUTO_CLOSE int segment_fd = -1;
    enum sl_status status = receive_word(theirs->fd, &offer, sizeof(offer), &segment_fd);
    if (status != SL_OK)
        return status == SL_AGAIN;
    if (offer.offer != OFFER || offer.size == 0 || offer.size > SL_SHARE_SIZE_MAX || theirs->segment != NULL)
        return false;
    theirs->segment_size = offer.size;
    theirs->segment = map_sealed(segment_fd, offer.size, PROT_READ);
    return theirs->segment != NULL;
}

void sl_share_collect_abandoned(void)
{
    if (atomic_load(&abandoned.count) == 0)
        return;
    (void)pthread_mutex_lock(&abandoned.lock);
    for (struct channel **at = &abandoned.channels; *at != NULL;) {
        struct channel *channel = *at;
        collect(channel);
        if (channel->lent > 0 && take_word(channel)) {
            at = &channel->next;
            continue;
        }
        *at = channel->next;
        atomic_fetch_sub(&abandoned.count, 1);
        destroy(channel);
    }
    (void)pthread_mutex_unlock(&abandoned.lock);
}

static void watch(const struct sl_share *share, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    (void)epoll_ctl(share->epoll, EPOLL_CTL_ADD, fd, &event);
}

static void unwatch(const struct sl_share *share, int fd)
{
    if (fd >= 0)
        (void)epoll_ctl(share->epoll, EPOLL_CTL_DEL, fd, NULL);
}

static int fd_of(const struct channel *channel)
{
    return channel->theirs != NULL ? channel->theirs->fd : channel->fd;
}

/* ---- greetings ---- */

static bool send_greeting(int fd, const struct sl_share *share, const struct channel *channel)
{
    struct greeting greeting = {.greeting = GREETING,
            .protocol = SL_PROTOCOL_VERSION,
            .role = (uint32_t)share->role,
            .incarnation = share->incarnation};
    return send_word(fd, &greeting, sizeof(greeting), channel->notes_fd);
}

static enum sl_status receive_greeting(int fd, struct greeting *ret_greeting, int *ret_notes)
{
    SL_AUTO_CLOSE int passed = -1;
    enum sl_status status = receive_word(fd, ret_greeting, sizeof(*ret_greeting), &passed);
    if (status != SL_OK)
        return status;
    if (ret_greeting->greeting != GREETING || ret_greeting->protocol != SL_PROTOCOL_VERSION)
        return SL_BAD_DATA;
    *ret_notes = passed;
    passed = -1;
    return SL_OK;
}

/* Another user's process gets nothing and gives nothing. */
static bool is_same_user(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
}

static struct channel *find(const struct sl_share *share, struct sl_address peer)
{
    struct channel *channel = share == NULL ? NULL : share->channels;
    while (channel != NULL && share->listens && !sl_address_equal(channel->peer, peer))
        channel = channel->next;
    return channel != NULL && channel->theirs != NULL ? channel : NULL;
}

static void add(struct sl_share *share, struct channel *channel)
{
    channel->next = share->channels;
    share->channels = channel;
    share->channel_count++;
}

/* The bound side: a greeting is answered with ours. *fd is -1 afterwards when it lives on in a channel. */
static enum sl_status welcome(struct sl_share *share, int *fd)
{
    struct greeting greeting;
    SL_AUTO_CLOSE int notes_fd = -1;
    enum sl_status status = receive_greeting(*fd, &greeting, &notes_fd);
    if (status != SL_OK)
        return status;
    struct sl_address peer = {(enum sl_role)greeting.role, greeting.incarnation};
    bool fits = greeting.role <= SL_ROLE_SERVER && greeting.incarnation != 0 &&
                share->channel_count < SL_SHARE_CHANNELS_MAX && find(share, peer) == NULL;
    unwatch(share, *fd);
    struct channel *channel = fits ? make_channel(fd) : NULL;
    if (channel == NULL)
        return SL_BAD_DATA;
    if (send_greeting(channel->fd, share, channel))
        channel->theirs = map_notes(notes_fd, &channel->fd);
    if (channel->theirs == NULL) {
        destroy(channel);
        return SL_BAD_DATA;
    }
    channel->peer = peer;
    close_fd(&channel->notes_fd);
    watch(share, channel->theirs->fd);
    add(share, channel);
    return SL_OK;
}

/* The connected side: the answer has come, or the other side has hung up. */
static bool take_answer(struct channel *channel)
{
    struct greeting greeting;
    SL_AUTO_CLOSE int notes_fd = -1;
    enum sl_status status = receive_greeting(channel->fd, &greeting, &notes_fd);
    if (status != SL_OK)
        return status == SL_AGAIN;
    channel->theirs = map_notes(notes_fd, &channel->fd);
    close_fd(&channel->notes_fd);
    return channel->theirs != NULL;
}

static void accept_all(struct sl_share *share)
{
    int fd = -1;
    while ((fd = accept4(share->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        if (share->pending_count == PENDING_MAX || !is_same_user(fd)) {
            (void)close(fd);
            continue;
        }
        share->pending[share->pending_count++] = fd;
        watch(share, fd);
    }
}

static void tend_pending(struct sl_share *share)
{
    int kept = 0;
    for (int i = 0; i < share->pending_count; i++) {
        int fd = share->pending[i];
        enum sl_status status = welcome(share, &fd);
        if (status == SL_AGAIN)
            share->pending[kept++] = fd;
        else
            close_fd(&fd);
    }
    share->pending_count = kept;
}

/* False: the channel is over. */
static bool tend_channel(struct channel *channel)
{
    if (channel->theirs == NULL)
        return take_answer(channel);
    channel->over = !take_word(channel);
    return !channel->over;
}

void sl_share_tend(struct sl_share *share)
{
    if (share == NULL)
        return;
    if (share->listener >= 0)
        accept_all(share);
    tend_pending(share);
    for (struct channel **at = &share->channels; *at != NULL;) {
        struct channel *channel = *at;
        int fd = fd_of(channel);
        if (tend_channel(channel)) {
            at = &channel->next;
            continue;
        }
        *at = channel->next;
        share->channel_count--;
        unwatch(share, fd);
        destroy(channel);
    }
}

void sl_share_collect(struct sl_share *share)
{
    for (struct channel *channel = share == NULL ? NULL : share->channels; channel != NULL;
            channel = channel->next)
        collect(channel);
}

int sl_share_fd(const struct sl_share *share)
{
    return share == NULL ? -1 : share->epoll;
}

/* ---- open and close ---- */

/* A name of the abstract namespace: for tcp by port, whatever the host is called on either side; for ipc by path. */
static bool name_of(struct sl_share *share, const char *endpoint)
{
    const char *port = strrchr(endpoint, ':');
    char *text = share->name.sun_path;
    size_t room = sizeof(share->name.sun_path) - 1;
    int used = -1;
    if (strncmp(endpoint, "tcp://", 6) == 0 && port != NULL)
        used = snprintf(text + 1, room, "shelflife/tcp%s", port);
    else if (strncmp(endpoint, "ipc://", 6) == 0)
        used = snprintf(text + 1, room, "shelflife/ipc/%016llx",
                (unsigned long long)sl_hash64(endpoint, strlen(endpoint), 0));
    if (used < 0 || (size_t)used >= room)
        return false;
    text[0] = 0;
    share->name.sun_family = AF_UNIX;
    share->name_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)used);
    return true;
}

static struct sl_share *make_share(const char *endpoint)
{
    if (sl_shared_heap_fd() < 0)
        return NULL;
    struct sl_share *share = sl_alloc(1, sizeof(*share));
    if (share == NULL)
        return NULL;
    share->listener = -1;
    share->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (share->epoll >= 0 && name_of(share, endpoint))
        return share;
    sl_share_close(share);
    return NULL;
}

struct sl_share *sl_share_listen(const char *endpoint)
{
    struct sl_share *share = make_share(endpoint);
    if (share == NULL)
        return NULL;
    share->listens = true;
    share->role = SL_ROLE_SERVER;
    share->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (share->listener < 0 ||
            bind(share->listener, (struct sockaddr *)&share->name, share->name_size) != 0 ||
            listen(share->listener, PENDING_MAX) != 0) {
        sl_share_close(share);
        return NULL;
    }
    watch(share, share->listener);
    return share;
}

struct sl_share *sl_share_connect(const char *endpoint, enum sl_role role, uint64_t incarnation)
{
    struct sl_share *share = make_share(endpoint);
    if (share == NULL)
        return NULL;
    share->role = role;
    share->incarnation = incarnation;
    return share;
}

void sl_share_close(struct sl_share *share)
{
    if (share == NULL)
        return;
    for (struct channel *channel = share->channels, *next = NULL; channel != NULL; channel = next) {
        next = channel->next;
        unwatch(share, fd_of(channel));
        leave(channel);
    }
    for (int i = 0; i < share->pending_count; i++)
        close_fd(&share->pending[i]);
    close_fd(&share->listener);
    close_fd(&share->epoll);
    sl_free(share);
}

/* Once: who is not there when its first message has come is on another machine, or does not share. */
static void greet(struct sl_share *share)
{
    share->tried = true;
    SL_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&share->name, share->name_size) != 0 || !is_same_user(fd))
        return;
    struct channel *channel = make_channel(&fd);
    if (channel == NULL)
        return;
    if (!send_greeting(channel->fd, share, channel)) {
        destroy(channel);
        return;
    }
    watch(share, channel->fd);
    add(share, channel);
}

/* ---- proof ---- */

uint64_t sl_share_proof(const struct sl_share *share, struct sl_address peer)
{
    const struct channel *channel = find(share, peer);
    return channel == NULL ? 0 : channel->theirs->proof;
}

void sl_share_heard(struct sl_share *share, struct sl_address peer, uint64_t proof)
{
    if (share == NULL)
        return;
    if (!share->listens && !share->tried)
        greet(share);
    struct channel *channel = proof == 0 ? NULL : find(share, peer);
    if (channel == NULL || channel->proven || channel->proof != proof)
        return;
    struct offer offer = {OFFER, sl_shared_heap_size()};
    channel->proven = send_word(channel->theirs->fd, &offer, sizeof(offer), sl_shared_heap_fd());
}

/* ---- loans ---- */

bool sl_share_lend(struct sl_share *share, struct sl_address peer, const struct sl_frame *frame,
        unsigned char reference[SL_REFERENCE_SIZE])
{
    struct channel *channel = find(share, peer);
    uint64_t words[3] = {0, 0, frame->size};
    if (channel == NULL || !channel->proven || frame->size < SL_SHARED_MIN ||
            !sl_shared_offset(frame->data, frame->size, &words[1]))
        return false;
    words[0] = channel->next_number;
    struct sl_buffer **loan = &channel->loans[words[0] % SL_SHARE_LOANS_MAX];
    if (*loan != NULL)
        collect(channel);
    if (*loan != NULL)
        return false;
    *loan = sl_buffer_retain(frame->buffer);
    channel->lent++;
    channel->next_number++;
    memcpy(reference, words, SL_REFERENCE_SIZE);
    return true;
}

/* Those that were passed over were lost on the way. */
static void pass_over(struct channel *channel, uint64_t number)
{
    uint64_t first = channel->heard + 1;
    if (number - first > SL_SHARE_LOANS_MAX)
        first = number - SL_SHARE_LOANS_MAX;
    for (uint64_t n = first; n < number; n++)
        return_number(channel->theirs, n);
    channel->heard = number;
}

enum sl_status sl_share_borrow(struct sl_share *share, struct sl_address peer, const unsigned char *reference,
        size_t size, struct sl_frame *ret_frame, struct sl_error *err)
{
    uint64_t words[3] = {0};
    struct channel *channel = find(share, peer);
    if (channel == NULL)
        return sl_fail(err, SL_BAD_DATA, "a frame lies in the memory of a peer that we share none with");
    if (size != SL_REFERENCE_SIZE)
        return sl_fail(err, SL_BAD_DATA, "a reference to shared memory has %zu bytes, expected %d", size,
                SL_REFERENCE_SIZE);
    if (channel->theirs->segment == NULL)
        (void)take_word(channel); /* it was offered before the message was sent */
    if (channel->theirs->segment == NULL)
        return sl_fail(err, SL_BAD_DATA, "a frame lies in memory that was not offered");
    memcpy(words, reference, SL_REFERENCE_SIZE);
    uint64_t number = words[0], offset = words[1], length = words[2];
    if (number <= channel->heard || number > UINT64_MAX / 2)
        return sl_fail(err, SL_BAD_DATA, "a reference to shared memory came out of order");
    pass_over(channel, number);
    if (length > channel->theirs->segment_size || offset > channel->theirs->segment_size - length ||
            offset % sizeof(double) != 0) {
        return_number(channel->theirs, number);
        return sl_fail(err, SL_BAD_DATA, "a reference to shared memory is out of bounds");
    }
    struct borrowed *borrowed = sl_alloc(1, sizeof(*borrowed));
    struct sl_buffer *buffer =
            borrowed == NULL ? NULL
                             : sl_buffer_adopt((void *)(uintptr_t)(channel->theirs->segment + offset), length,
                                       give_back, borrowed);
    if (buffer == NULL) {
        sl_free(borrowed);
        return_number(channel->theirs, number);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a frame");
    }
    atomic_fetch_add_explicit(&channel->theirs->references, 1, memory_order_relaxed);
    *borrowed = (struct borrowed){channel->theirs, number};
    buffer->read_only = true;
    *ret_frame = (struct sl_frame){buffer, buffer->data, length};
    return SL_OK;
}

int sl_share_peers(const struct sl_share *share)
{
    int peers = 0;
    for (const struct channel *channel = share == NULL ? NULL : share->channels; channel != NULL;
            channel = channel->next)
        peers += channel->proven;
    return peers;
}

int sl_share_lent(const struct sl_share *share)
{
    int lent = 0;
    for (const struct channel *channel = share == NULL ? NULL : share->channels; channel != NULL;
            channel = channel->next)
        lent += channel->lent;
    return lent;
}
