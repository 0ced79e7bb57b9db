#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

/* --- the state of the processor: round to nearest, keep subnormals, no traps --- */

#if defined __x86_64__
#include <xmmintrin.h>
unsigned enter(void) {
    unsigned before = _mm_getcsr();
    _mm_setcsr(0x1f80);
    return before;
}
void leave(unsigned before) { _mm_setcsr(before); }
#elif defined __aarch64__
unsigned enter(void) {
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0));
    return (unsigned)before;
}
void leave(unsigned before) { __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)before)); }
#else
#error "the processor's floating-point state is known for x86-64 and aarch64"
#endif

/* --- memory of a thread --- */

typedef struct {
    void *memory[SLOTS];
    size_t bytes[SLOTS];
} Scratch;

static pthread_key_t scratch_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_int failed;

static void discard(void *kept) {
    Scratch *own = kept;
    for (int slot = 0; slot < SLOTS; slot++) free(own->memory[slot]);
    free(own);
}

static void prepare(void);

void *scratch(int slot, size_t bytes) {
    pthread_once(&once, prepare);
    Scratch *own = pthread_getspecific(scratch_key);
    if (!own) {
        own = calloc(1, sizeof *own);
        if (!own || pthread_setspecific(scratch_key, own)) {
            free(own);
            atomic_store(&failed, 1);
            return NULL;
        }
    }
#if defined __SANITIZE_ADDRESS__ /* just these bytes, so that what lies beyond is seen */
    free(own->memory[slot]);
    if (posix_memalign(&own->memory[slot], 64, bytes)) own->memory[slot] = NULL;
    if (!own->memory[slot]) atomic_store(&failed, 1);
    return own->memory[slot];
#endif
    if (own->bytes[slot] < bytes) {
        free(own->memory[slot]);
        size_t rounded = (bytes + 4095) & ~(size_t)4095;
        own->memory[slot] = aligned_alloc(4096, rounded);
        own->bytes[slot] = own->memory[slot] ? rounded : 0;
        if (!own->memory[slot]) atomic_store(&failed, 1);
    }
    return own->memory[slot];
}

int out_of_memory(void) { return atomic_exchange(&failed, 0); }

/* --- the pool: threads that wait for work, started when they are first wanted --- */

enum { MOST = 256 };

static struct {
    pthread_mutex_t busy;  /* held by the caller whose work the pool does */
    pthread_mutex_t guard; /* of what follows */
    pthread_cond_t work, done;
    int started;         /* threads that exist besides the callers' */
    unsigned long turn;  /* counts the pieces of work */
    int wanted, running; /* threads that may still join this piece, and that are in it */
    Task task;
    void *context;
    long count;
    atomic_long next;
} pool;

static void forget(void) { /* in the child of a fork no thread of the pool exists */
    pthread_mutex_init(&pool.busy, NULL);
    pthread_mutex_init(&pool.guard, NULL);
    pthread_cond_init(&pool.work, NULL);
    pthread_cond_init(&pool.done, NULL);
    pool.started = pool.wanted = pool.running = 0;
}

static void prepare(void) {
    pthread_key_create(&scratch_key, discard);
    forget();
    pthread_atfork(NULL, NULL, forget);
}

static void work(void) {
    long number;
    while ((number = atomic_fetch_add(&pool.next, 1)) < pool.count) pool.task(pool.context, number);
}

static void *wait_for_work(void *unused) {
    unsigned long seen = 0;
    enter(); /* this thread does nothing else */
    pthread_mutex_lock(&pool.guard);
    for (;;) {
        while (pool.turn == seen || !pool.wanted) pthread_cond_wait(&pool.work, &pool.guard);
        seen = pool.turn;
        pool.wanted--;
        pool.running++;
        pthread_mutex_unlock(&pool.guard);
        work();
        pthread_mutex_lock(&pool.guard);
        if (--pool.running == 0) pthread_cond_signal(&pool.done);
    }
    return unused;
}

static void start(int threads) {
    while (pool.started < threads - 1 && pool.started < MOST) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, wait_for_work, NULL)) return; /* fewer do the same */
        pthread_detach(thread);
        pool.started++;
    }
}

void share(Task task, void *context, long count, int threads) {
    pthread_once(&once, prepare);
    if (threads > count) threads = (int)count;
    if (threads < 2 ||
        pthread_mutex_trylock(&pool.busy)) { /* another caller's work is being done: alone, then */
        for (long number = 0; number < count; number++) task(context, number);
        return;
    }
    pthread_mutex_lock(&pool.guard);
    start(threads);
    pool.task = task, pool.context = context, pool.count = count;
    atomic_store(&pool.next, 0);
    pool.turn++;
    pool.wanted = threads - 1 < pool.started ? threads - 1 : pool.started;
    pthread_cond_broadcast(&pool.work);
    pthread_mutex_unlock(&pool.guard);
    work();
    pthread_mutex_lock(&pool.guard);
    pool.wanted = 0; /* who has not begun would find nothing */
    while (pool.running) pthread_cond_wait(&pool.done, &pool.guard);
    pthread_mutex_unlock(&pool.guard);
    pthread_mutex_unlock(&pool.busy);
}
