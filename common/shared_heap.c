/* The segment and its free pieces: see shared_heap.h. First fit over pieces in order of address; there are about as many as the model has blocks. Beside it there is a second one for
 * this process alone, which is kept in the same way. */
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

#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#define ADDRESS_SANITIZER __has_feature(address_sanitizer)
#else
#define ADDRESS_SANITIZER 0
#endif
#if ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#define GAP PAGE /* between pieces of this process alone */
#else
#define GAP 0
#endif

#define PAGE 4096
#define HUGE_PAGE ((uint64_t)2 << 20)
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* AddressSanitizer finds who reads or writes what is not given out, as it does in memory from malloc. */
static void allow(char *data, size_t size, uint64_t with_rest)
{
#if ADDRESS_SANITIZER
    __asan_poison_memory_region(data, with_rest);
    __asan_unpoison_memory_region(data, size);
#else
    (void)data, (void)size, (void)with_rest;
#endif
}

static void forbid(char *data, uint64_t size)
{
    allow(data, 0, size);
}

/* A run of the segment, given out or free. In order of offset; together they cover [0, fresh). */
struct piece {
    struct piece *next, *previous;
    uint64_t offset, size;
    bool used;
};

struct heap {
    pthread_mutex_t lock;
    int fd; /* -1: nobody else sees it */
    uint64_t size, asked,
            fresh; /* bytes; nothing beyond fresh was ever given out, and pages up to asked are there */
    _Atomic(char *) base; /* NULL = not open */
    struct piece *first, *last;
};

static struct heap shared = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};
static struct heap own = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

static uint64_t memory_of_machine(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : (uint64_t)2 << 30;
}

static enum sl_status open_segment(uint64_t size, struct sl_error *err)
{
    SL_AUTO_CLOSE int fd = memfd_create("shelflife", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
        return sl_fail(err, SL_FAILED, "cannot make memory to share: %s", strerror(errno));
    void *base = sl_memory_map(fd, size, PROT_READ | PROT_WRITE);
    if (base == NULL)
        return sl_fail(err, SL_FAILED, "cannot map %llu bytes of memory to share: %s",
                (unsigned long long)size, strerror(errno));
    (void)fcntl(
            fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE); /* only this mapping writes; kernels before 5.1 cannot */
    (void)fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL);
    (void)madvise(base, size, MADV_HUGEPAGE); /* where the system is set up for it */
    (void)madvise(base, size, MADV_DONTFORK); /* a child would hold all of it */
    shared.fd = fd;
    fd = -1;
    shared.size = size;
    atomic_store_explicit(&shared.base, base, memory_order_release);
    return SL_OK;
}

enum sl_status sl_shared_heap_open(uint64_t size_max, struct sl_error *err)
{
    uint64_t size = (size_max == 0 ? memory_of_machine() / 2 : size_max) / PAGE * PAGE;
    enum sl_status status = SL_OK;
    (void)pthread_mutex_lock(&shared.lock);
    if (shared.fd < 0)
        status = open_segment(size < PAGE ? PAGE : size, err);
    (void)pthread_mutex_unlock(&shared.lock);
    return status;
}

/* Addresses for as much as the machine has, without memory behind them; the kernel gives huge pages as they are touched. */
static void open_own(void)
{
    (void)pthread_mutex_lock(&own.lock);
    uint64_t size = memory_of_machine() / HUGE_PAGE * HUGE_PAGE;
    char *base = own.size > 0 ? NULL : sl_memory_map(-1, size, PROT_READ | PROT_WRITE);
    if (base != NULL) {
        (void)madvise(base, size, MADV_HUGEPAGE);
        own.size = own.asked = size;
        atomic_store_explicit(&own.base, base, memory_order_release);
    }
    (void)pthread_mutex_unlock(&own.lock);
}

static char *base_of(struct heap *heap)
{
    return atomic_load_explicit(&heap->base, memory_order_acquire);
}

int sl_shared_heap_fd(void)
{
    return base_of(&shared) == NULL ? -1 : shared.fd;
}

uint64_t sl_shared_heap_size(void)
{
    return base_of(&shared) == NULL ? 0 : shared.size;
}

/* ---- pieces; called with the lock held ---- */

static void insert_after(struct heap *heap, struct piece *at, struct piece *piece)
{
    piece->previous = at;
    piece->next = at == NULL ? heap->first : at->next;
    *(piece->next == NULL ? &heap->last : &piece->next->previous) = piece;
    *(at == NULL ? &heap->first : &at->next) = piece;
}

static void drop(struct heap *heap, struct piece *piece)
{
    *(piece->previous == NULL ? &heap->first : &piece->previous->next) = piece->next;
    *(piece->next == NULL ? &heap->last : &piece->next->previous) = piece->previous;
    sl_free(piece);
}

/* Cuts what is too much off a free piece; without memory for that it stays whole. */
static void trim(struct heap *heap, struct piece *piece, uint64_t size)
{
    if (piece->size == size)
        return;
    struct piece *rest = sl_alloc(1, sizeof(*rest));
    if (rest == NULL)
        return;
    *rest = (struct piece){.offset = piece->offset + size, .size = piece->size - size};
    piece->size = size;
    insert_after(heap, piece, rest);
}

static bool allocate(const struct heap *heap, uint64_t size)
{
    int failed = -1;
    do
        failed = fallocate(heap->fd, 0, (off_t)heap->asked, (off_t)size);
    while (failed != 0 && errno == EINTR);
    return failed == 0;
}

/* Asks for the next huge page's worth of memory. Its first page is made huge at once, which Linux does since 6.1 whatever it is set up for, and
 * in a fraction of the time that 512 small pages take; else those are asked for. */
static bool ask(struct heap *heap)
{
    uint64_t left = heap->size - heap->asked, size = left < HUGE_PAGE ? left : HUGE_PAGE;
    if (!allocate(heap, PAGE))
        return false;
    bool huge = size == HUGE_PAGE && madvise(base_of(heap) + heap->asked, size, MADV_COLLAPSE) == 0;
    if (!huge && !allocate(heap, size))
        return false;
    heap->asked += size;
    return true;
}

static bool take_fresh(struct heap *heap, uint64_t size)
{
    if (size > heap->size - heap->fresh)
        return false;
    while (heap->asked < heap->fresh + size)
        if (!ask(heap))
            return false;
    heap->fresh += size;
    return true;
}

/* Memory that was never given out, behind what is free at the end. *ret_zero: all of it is zeros. */
static struct piece *extend(struct heap *heap, uint64_t size, bool *ret_zero)
{
    struct piece *last = heap->last;
    *ret_zero = false;
    if (last != NULL && !last->used) {
        if (!take_fresh(heap, size - last->size))
            return NULL;
        last->size = size;
        return last;
    }
    struct piece *piece = sl_alloc(1, sizeof(*piece));
    uint64_t offset = heap->fresh;
    if (piece == NULL || !take_fresh(heap, size)) {
        sl_free(piece);
        return NULL;
    }
    *piece = (struct piece){.offset = offset, .size = size};
    insert_after(heap, heap->last, piece);
    *ret_zero = true;
    return piece;
}

static struct piece *find_free(const struct heap *heap, uint64_t size)
{
    for (struct piece *piece = heap->first; piece != NULL; piece = piece->next)
        if (!piece->used && piece->size >= size)
            return piece;
    return NULL;
}

static void *give(struct heap *heap, size_t size, bool *ret_zero)
{
    uint64_t wanted = ((uint64_t)size + PAGE - 1) / PAGE * PAGE;
    if (wanted < size)
        return NULL;
    wanted += heap == &own ? GAP : 0;
    struct piece *piece = find_free(heap, wanted);
    *ret_zero = false;
    if (piece != NULL)
        trim(heap, piece, wanted);
    else
        piece = extend(heap, wanted, ret_zero);
    if (piece == NULL)
        return NULL;
    piece->used = true;
    char *data = base_of(heap) + piece->offset;
    allow(data, size, piece->size);
    return data;
}

static void take_back(struct heap *heap, uint64_t offset)
{
    struct piece *piece = heap->first;
    while (piece != NULL && piece->offset != offset)
        piece = piece->next;
    assert(piece != NULL && piece->used);
    piece->used = false;
    forbid(base_of(heap) + offset, piece->size);
    if (piece->next != NULL && !piece->next->used) {
        piece->size += piece->next->size;
        drop(heap, piece->next);
    }
    if (piece->previous != NULL && !piece->previous->used) {
        piece->previous->size += piece->size;
        drop(heap, piece);
    }
}

/* ---- for everybody ---- */

static bool lies_in(struct heap *heap, const void *pointer)
{
    const char *base = base_of(heap), *at = pointer;
    return base != NULL && at >= base && at < base + heap->size;
}

static void *take_from(struct heap *heap, size_t size, bool zeroed)
{
    bool zero = false;
    (void)pthread_mutex_lock(&heap->lock);
    void *data = give(heap, size, &zero);
    (void)pthread_mutex_unlock(&heap->lock);
    if (data != NULL && zeroed && !zero)
        memset(data, 0, size);
    return data;
}

void *sl_shared_alloc(size_t size, bool zeroed)
{
    if (size < SL_SHARED_MIN)
        return sl_alloc_aligned(size, 1);
    void *data = base_of(&shared) != NULL ? take_from(&shared, size, zeroed) : NULL;
    if (data == NULL && base_of(&own) == NULL)
        open_own();
    if (data == NULL && base_of(&own) != NULL)
        data = take_from(&own, size, zeroed);
    return data != NULL ? data : sl_alloc_aligned(size, 1);
}

void sl_shared_free(void *pointer)
{
    struct heap *heap = lies_in(&shared, pointer) ? &shared : &own;
    if (!lies_in(heap, pointer)) {
        sl_free(pointer);
        return;
    }
    (void)pthread_mutex_lock(&heap->lock);
    take_back(heap, (uint64_t)((char *)pointer - base_of(heap)));
    (void)pthread_mutex_unlock(&heap->lock);
}

bool sl_shared_offset(const void *bytes, size_t size, uint64_t *ret_offset)
{
    if (!lies_in(&shared, bytes))
        return false;
    *ret_offset = (uint64_t)((const char *)bytes - base_of(&shared));
    return size <= shared.size - *ret_offset;
}
