/* Threads that run one function together. Between two phases they spin, for a phase takes some
 * microseconds; between two calls they spin for a moment, then sleep. */
#define _GNU_SOURCE
#include "kernels.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SPINS_IN_CALL = 2000, SPINS_BETWEEN_CALLS = 20000 };

struct pool {
    int num_threads, num_active;
    pthread_t threads[MAX_THREADS];
    pthread_mutex_t lock;
    pthread_cond_t wake;
    work_t work;
    void *argument;
    int is_closing;
    _Alignas(64) atomic_uint call;    /* counts calls: a change starts one */
    _Alignas(64) atomic_uint arrived; /* at the barrier */
    _Alignas(64) atomic_uint phase;   /* counts barriers passed */
    _Alignas(64) atomic_int piece;    /* next piece of this phase */
};

typedef struct {
    pool_t *pool;
    int thread;
} member_t;

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void await_change(atomic_uint *value, unsigned from) {
    for (int spins = 0; atomic_load_explicit(value, memory_order_acquire) == from; spins++) {
        if (spins < SPINS_IN_CALL)
            relax();
        else
            sched_yield();
    }
}

void pool_barrier(pool_t *pool) {
    unsigned phase = atomic_load_explicit(&pool->phase, memory_order_relaxed);
    if (atomic_fetch_add(&pool->arrived, 1) + 1 == (unsigned)pool->num_active) {
        atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&pool->piece, 0, memory_order_relaxed);
        atomic_store_explicit(&pool->phase, phase + 1, memory_order_release);
    } else {
        await_change(&pool->phase, phase);
    }
}

int pool_next(pool_t *pool) {
    return atomic_fetch_add_explicit(&pool->piece, 1, memory_order_relaxed);
}

int pool_size(const pool_t *pool) { return pool->num_threads; }

static void *member_main(void *argument) {
    member_t *member = argument;
    pool_t *pool = member->pool;
    int thread = member->thread;
    unsigned seen = 0;
    free(member);
    for (;;) {
        for (int spins = 0; spins < SPINS_BETWEEN_CALLS && atomic_load(&pool->call) == seen; spins++)
            relax();
        if (atomic_load(&pool->call) == seen) {
            pthread_mutex_lock(&pool->lock);
            while (atomic_load(&pool->call) == seen)
                pthread_cond_wait(&pool->wake, &pool->lock);
            pthread_mutex_unlock(&pool->lock);
        }
        seen++;
        if (pool->is_closing)
            return NULL;
        pool->work(pool->argument, thread);
        pool_barrier(pool);
    }
}

static void start_call(pool_t *pool) {
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->call, 1);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

void pool_run(pool_t *pool, work_t work, void *argument, int is_alone) {
    pool->work = work;
    pool->argument = argument;
    pool->num_active = is_alone ? 1 : pool->num_threads;
    atomic_store(&pool->piece, 0);
    if (pool->num_active > 1)
        start_call(pool);
    work(argument, 0);
    pool_barrier(pool);
}

pool_t *pool_open(int num_threads) {
    pool_t *pool = aligned_memory(sizeof *pool);
    if (pool == NULL)
        return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->num_threads = 1;
    for (int thread = 1; thread < num_threads && thread < MAX_THREADS; thread++) {
        member_t *member = malloc(sizeof *member);
        if (member == NULL)
            break;
        *member = (member_t){pool, thread};
        if (pthread_create(&pool->threads[thread], NULL, member_main, member) != 0) {
            free(member);
            break;
        }
        pool->num_threads = thread + 1;
    }
    return pool;
}

void pool_close(pool_t *pool) {
    pool->is_closing = 1;
    start_call(pool);
    for (int thread = 1; thread < pool->num_threads; thread++)
        pthread_join(pool->threads[thread], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
