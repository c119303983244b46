/* The language model on x86 processors with AVX-512 VNNI: what the files of this folder share.
 *
 * Weights are int8 in blocks of 32 along the inner dimension with a scale each; activations
 * are quantised alike, row by row, when they are used. The sum over a block is exact (int32), the
 * sum over blocks has one order whatever else is computed in the same call: a row's result does not
 * depend on the rows beside it, nor on the number of threads.
 */
#ifndef CXR_KERNELS_H
#define CXR_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum {
    BLOCK = 32, /* weights that share a scale */
    LANES = 16, /* columns that one register holds */
    TILE = 32,  /* columns that lie side by side in memory: two registers */
    TILE_BLOCK_BYTES = BLOCK * TILE + TILE * 2,
    MAX_THREADS = 64,
    MAX_GROUP = 8, /* query heads that share a key/value head */
};

/* A weight matrix [K, N]: for each tile of 32 columns, for each block of 32 rows, 8 x 2 x 64 bytes
 * of weights (as unsigned: value + 128; four rows of a column side by side), then 32 scales in half
 * precision. A thread so reads one stream. */
typedef struct {
    int inner, columns, num_tiles;
    uint8_t *packed;
} matrix_t;

/* Rows [T, K] of activations as int8 in blocks. `offsets` undoes the 128 added to each weight. */
typedef struct {
    int inner;
    int8_t *values;
    float *scales;
    int32_t *offsets;
} activations_t;

/* A range of columns, in tiles. */
typedef struct {
    int first, last;
} tiles_t;

/* matmul.c */
size_t packed_bytes(int inner, int columns);
void matrix_pack(matrix_t *matrix, uint8_t *to, const int8_t *values, const float *scales,
                 int inner, int columns);
void quantize_row(const float *row, int inner, activations_t *to, int at);
void norm_and_quantize_row(const float *row, const float *weight, float epsilon, float *scratch,
                           int inner, activations_t *to, int at);
/* out [T, stride] = activations x matrix for some tiles, or += where `adds`. */
void multiply(const activations_t *from, int num_rows, const matrix_t *matrix, tiles_t tiles,
              float *out, int stride, int adds);
/* out [T, stride] = silu(gate) * up for some tiles, each of 16 columns of gate, then 16 of up. */
void multiply_gated(const activations_t *from, int num_rows, const matrix_t *matrix, tiles_t tiles,
                    float *out, int stride);

/* attention.c: keys lie as [M / 16][D][16], values as [M][D]. */
void rotate_head(float *head, const float *cosine, const float *sine, int size);
void store_key(float *keys, const float *key, int position, int size);
void attend(const float *queries, int group, const float *keys, const float *values, int num_seen,
            int size, float *scratch, float *out);

/* pool.c: threads that run one function together, again and again. */
typedef struct pool pool_t;
typedef void (*work_t)(void *argument, int thread);
pool_t *pool_open(int num_threads);
void pool_run(pool_t *pool, work_t work, void *argument, int is_alone);
void pool_barrier(pool_t *pool);
/* The number of the next piece of the phase between two barriers; beyond the last there is none. */
int pool_next(pool_t *pool);
int pool_size(const pool_t *pool);
void pool_close(pool_t *pool);

/* pace.c: whether the caller's thread does better alone just now. */
typedef struct {
    double together_s, alone_s; /* a row, smoothed; 0: not tried yet */
    unsigned num_calls;
} pace_t;
int pace_is_alone(pace_t *pace);
void pace_note(pace_t *pace, int was_alone, double seconds);
double now_s(void);

void *aligned_memory(size_t num_bytes);

#endif
