/* The segment and its free pieces: see shared_heap.h. First fit over pieces in order of address; there are about as many as the model has blocks. */
#include "common/shared_heap.h"

#include "common/memory.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096

/* A run of the segment, given out or free. In order of offset; together they cover [0, fresh). */
struct piece {
    struct piece *next, *previous;
    uint64_t offset, size;
    bool used;
};

static struct {
    pthread_mutex_t lock;
    int fd;
    uint64_t size, fresh; /* bytes; nothing beyond fresh was ever given out */
    _Atomic(char *) base; /* NULL = not open */
    struct piece *first, *last;
} heap = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

static uint64_t half_of_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / 2 : (uint64_t)1 << 30;
}

static enum sl_status open_segment(uint64_t size, struct sl_error *err)
{
    SL_AUTO_CLOSE int fd = memfd_create("shelflife", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
        return sl_fail(err, SL_FAILED, "cannot make memory to share: %s", strerror(errno));
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return sl_fail(err, SL_FAILED, "cannot map %llu bytes of memory to share: %s",
                (unsigned long long)size, strerror(errno));
    (void)fcntl(
            fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE); /* only this mapping writes; kernels before 5.1 cannot */
    (void)fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL);
    (void)madvise(base, size, MADV_HUGEPAGE); /* where the system is set up for it */
    (void)madvise(base, size, MADV_DONTFORK); /* a child would hold all of it */
    heap.fd = fd;
    fd = -1;
    heap.size = size;
    atomic_store_explicit(&heap.base, base, memory_order_release);
    return SL_OK;
}

enum sl_status sl_shared_heap_open(uint64_t size_max, struct sl_error *err)
{
    uint64_t size = (size_max == 0 ? half_of_memory() : size_max) / PAGE * PAGE;
    enum sl_status status = SL_OK;
    (void)pthread_mutex_lock(&heap.lock);
    if (heap.fd < 0)
        status = open_segment(size < PAGE ? PAGE : size, err);
    (void)pthread_mutex_unlock(&heap.lock);
    return status;
}

static char *base_of(void)
{
    return atomic_load_explicit(&heap.base, memory_order_acquire);
}

int sl_shared_heap_fd(void)
{
    return base_of() == NULL ? -1 : heap.fd;
}

uint64_t sl_shared_heap_size(void)
{
    return base_of() == NULL ? 0 : heap.size;
}

/* ---- pieces; called with the lock held ---- */

static void insert_after(struct piece *at, struct piece *piece)
{
    piece->previous = at;
    piece->next = at == NULL ? heap.first : at->next;
    *(piece->next == NULL ? &heap.last : &piece->next->previous) = piece;
    *(at == NULL ? &heap.first : &at->next) = piece;
}

static void drop(struct piece *piece)
{
    *(piece->previous == NULL ? &heap.first : &piece->previous->next) = piece->next;
    *(piece->next == NULL ? &heap.last : &piece->next->previous) = piece->previous;
    sl_free(piece);
}

/* Cuts what is too much off a free piece; without memory for that it stays whole. */
static void trim(struct piece *piece, uint64_t size)
{
    if (piece->size == size)
        return;
    struct piece *rest = sl_alloc(1, sizeof(*rest));
    if (rest == NULL)
        return;
    *rest = (struct piece){.offset = piece->offset + size, .size = piece->size - size};
    piece->size = size;
    insert_after(piece, rest);
}

static bool take_fresh(uint64_t size)
{
    int failed = -1;
    if (size > heap.size - heap.fresh)
        return false;
    do
        failed = fallocate(heap.fd, 0, (off_t)heap.fresh, (off_t)size);
    while (failed != 0 && errno == EINTR);
    heap.fresh += failed == 0 ? size : 0;
    return failed == 0;
}

/* Memory that was never given out, behind what is free at the end: its pages are asked for now. *ret_zero: all of it is zeros. */
static struct piece *extend(uint64_t size, bool *ret_zero)
{
    struct piece *last = heap.last;
    *ret_zero = false;
    if (last != NULL && !last->used) {
        if (!take_fresh(size - last->size))
            return NULL;
        last->size = size;
        return last;
    }
    struct piece *piece = sl_alloc(1, sizeof(*piece));
    uint64_t offset = heap.fresh;
    if (piece == NULL || !take_fresh(size)) {
        sl_free(piece);
        return NULL;
    }
    *piece = (struct piece){.offset = offset, .size = size};
    insert_after(heap.last, piece);
    *ret_zero = true;
    return piece;
}

static struct piece *find_free(uint64_t size)
{
    for (struct piece *piece = heap.first; piece != NULL; piece = piece->next)
        if (!piece->used && piece->size >= size)
            return piece;
    return NULL;
}

static void *give(size_t size, bool *ret_zero)
{
    uint64_t wanted = ((uint64_t)size + PAGE - 1) / PAGE * PAGE;
    if (wanted < size)
        return NULL;
    struct piece *piece = find_free(wanted);
    *ret_zero = false;
    if (piece != NULL)
        trim(piece, wanted);
    else
        piece = extend(wanted, ret_zero);
    if (piece == NULL)
        return NULL;
    piece->used = true;
    return base_of() + piece->offset;
}

static void take_back(uint64_t offset)
{
    struct piece *piece = heap.first;
    while (piece != NULL && piece->offset != offset)
        piece = piece->next;
    assert(piece != NULL && piece->used);
    piece->used = false;
    if (piece->next != NULL && !piece->next->used) {
        piece->size += piece->next->size;
        drop(piece->next);
    }
    if (piece->previous != NULL && !piece->previous->used) {
        piece->previous->size += piece->size;
        drop(piece);
    }
}

/* ---- for everybody ---- */

static bool is_ours(const void *pointer)
{
    const char *base = base_of(), *at = pointer;
    return base != NULL && at >= base && at < base + heap.size;
}

void *sl_shared_alloc(size_t size, bool zeroed)
{
    if (base_of() == NULL || size < SL_SHARED_MIN)
        return sl_alloc_aligned(size, 1);
    bool zero = false;
    (void)pthread_mutex_lock(&heap.lock);
    void *data = give(size, &zero);
    (void)pthread_mutex_unlock(&heap.lock);
    if (data == NULL)
        return sl_alloc_aligned(size, 1);
    if (zeroed && !zero)
        memset(data, 0, size);
    return data;
}

void sl_shared_free(void *pointer)
{
    if (!is_ours(pointer)) {
        sl_free(pointer);
        return;
    }
    (void)pthread_mutex_lock(&heap.lock);
    take_back((uint64_t)((char *)pointer - base_of()));
    (void)pthread_mutex_unlock(&heap.lock);
}

bool sl_shared_offset(const void *bytes, size_t size, uint64_t *ret_offset)
{
    if (!is_ours(bytes))
        return false;
    *ret_offset = (uint64_t)((const char *)bytes - base_of());
    return size <= heap.size - *ret_offset;
}
