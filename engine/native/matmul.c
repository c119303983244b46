/* Packing, quantisation and int8 matrix products with VPDPBUSD (unsigned weight x signed activation). */
#include "kernels.h"

#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma")
#include "exponential.h"
#include <string.h>

enum { STEPS = BLOCK / 4, MAX_ROWS = 6 };

size_t packed_bytes(int inner, int columns) {
    return (size_t)((columns + TILE - 1) / TILE) * (size_t)(inner / BLOCK) * TILE_BLOCK_BYTES;
}

void matrix_pack(matrix_t *matrix, uint8_t *to, const int8_t *values, const float *scales,
                 int inner, int columns) {
    int num_tiles = (columns + TILE - 1) / TILE, num_blocks = inner / BLOCK;
    *matrix = (matrix_t){inner, columns, num_tiles, to};
    for (int tile = 0; tile < num_tiles; tile++) {
        for (int block = 0; block < num_blocks; block++, to += TILE_BLOCK_BYTES) {
            float tile_scales[TILE];
            for (int i = 0; i < TILE; i++) {
                int column = tile * TILE + i, exists = column < columns;
                tile_scales[i] = exists ? scales[(size_t)block * columns + column] : 0.0f;
                for (int k = 0; k < BLOCK; k++) {
                    size_t from = (size_t)(block * BLOCK + k) * columns + column;
                    to[(k / 4) * 4 * TILE + i * 4 + k % 4] =
                        (uint8_t)((exists ? values[from] : 0) + 128);
                }
            }
            for (int half = 0; half < 2; half++)
                _mm256_storeu_si256((__m256i *)(to + BLOCK * TILE) + half,
                                    _mm512_cvtps_ph(_mm512_loadu_ps(tile_scales + half * LANES), 0));
        }
    }
}

void quantize_row(const float *row, int inner, activations_t *to, int at) {
    int num_blocks = inner / BLOCK;
    int8_t *values = to->values + (size_t)at * inner;
    float *scales = to->scales + (size_t)at * num_blocks;
    int32_t *offsets = to->offsets + (size_t)at * num_blocks;
    for (int block = 0; block < num_blocks; block++, row += BLOCK, values += BLOCK) {
        __m512 low = _mm512_loadu_ps(row), high = _mm512_loadu_ps(row + 16);
        float most = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)));
        __m512 factor = _mm512_set1_ps(most > 0.0f ? 127.0f / most : 0.0f);
        __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(low, factor));
        __m512i b = _mm512_cvtps_epi32(_mm512_mul_ps(high, factor));
        _mm_storeu_si128((__m128i *)values, _mm512_cvtsepi32_epi8(a));
        _mm_storeu_si128((__m128i *)(values + 16), _mm512_cvtsepi32_epi8(b));
        /* an integer cannot say that a value is no number: the scale does */
        __mmask16 none = _mm512_cmp_ps_mask(low, high, _CMP_UNORD_Q);
        scales[block] = none ? NAN : most / 127.0f;
        offsets[block] = -128 * _mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
    }
}

void norm_and_quantize_row(const float *row, const float *weight, float epsilon, float *scratch,
                           int inner, activations_t *to, int at) {
    __m512 squares = _mm512_setzero_ps();
    for (int i = 0; i < inner; i += 16) {
        __m512 x = _mm512_loadu_ps(row + i);
        squares = _mm512_fmadd_ps(x, x, squares);
    }
    float factor = 1.0f / sqrtf(_mm512_reduce_add_ps(squares) / (float)inner + epsilon);
    for (int i = 0; i < inner; i += 16) {
        __m512 x = _mm512_mul_ps(_mm512_loadu_ps(row + i), _mm512_set1_ps(factor));
        _mm512_storeu_ps(scratch + i, _mm512_mul_ps(x, _mm512_loadu_ps(weight + i)));
    }
    quantize_row(scratch, inner, to, at);
}

/* sums [rows][2] of `rows` activation rows and a tile of weights. `rows` is a constant wherever this
 * is called, so that every sum stays in a register. */
static inline __attribute__((always_inline)) void
products(const activations_t *from, int row, int rows, const uint8_t *weights,
         __m512 sums[MAX_ROWS][2]) {
    int num_blocks = from->inner / BLOCK;
    const int8_t *values = from->values + (size_t)row * from->inner;
    const float *scales = from->scales + (size_t)row * num_blocks;
    const int32_t *offsets = from->offsets + (size_t)row * num_blocks;
    for (int r = 0; r < rows; r++)
        sums[r][0] = sums[r][1] = _mm512_setzero_ps();
    for (int block = 0; block < num_blocks; block++) {
        __m512i counts[MAX_ROWS][2];
        for (int r = 0; r < rows; r++)
            counts[r][0] = counts[r][1] = _mm512_set1_epi32(offsets[r * num_blocks + block]);
        for (int step = 0; step < STEPS; step++, weights += 2 * 64) {
            __m512i low = _mm512_loadu_si512(weights), high = _mm512_loadu_si512(weights + 64);
            for (int r = 0; r < rows; r++) {
                int32_t four;
                memcpy(&four, values + (size_t)r * from->inner + block * BLOCK + step * 4, 4);
                __m512i a = _mm512_set1_epi32(four);
                counts[r][0] = _mm512_dpbusd_epi32(counts[r][0], low, a);
                counts[r][1] = _mm512_dpbusd_epi32(counts[r][1], high, a);
            }
        }
        for (int half = 0; half < 2; half++, weights += 32) {
            __m512 scale = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)weights));
            for (int r = 0; r < rows; r++) {
                __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(scales[r * num_blocks + block]));
                __m512 count = _mm512_cvtepi32_ps(counts[r][half]);
                sums[r][half] = _mm512_fmadd_ps(count, both, sums[r][half]);
            }
        }
    }
}

static const uint8_t *tile_at(const matrix_t *matrix, int tile) {
    return matrix->packed + (size_t)tile * (matrix->inner / BLOCK) * TILE_BLOCK_BYTES;
}

/* Which of 16 columns a matrix has: its last tile may be a part. */
static __mmask16 present(int columns, int first) {
    int count = columns - first;
    return (__mmask16)(count >= LANES ? 0xFFFF : count <= 0 ? 0 : (1u << count) - 1);
}

static inline __attribute__((always_inline)) void
plain_rows(const activations_t *from, int row, int rows, const matrix_t *matrix, int tile,
           float *out, int stride, int adds) {
    __m512 sums[MAX_ROWS][2];
    products(from, row, rows, tile_at(matrix, tile), sums);
    for (int half = 0; half < 2; half++) {
        __mmask16 mask = present(matrix->columns, tile * TILE + half * LANES);
        for (int r = 0; r < rows; r++) {
            float *to = out + (size_t)(row + r) * stride + half * LANES;
            __m512 sum = sums[r][half];
            if (adds)
                sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, to));
            _mm512_mask_storeu_ps(to, mask, sum);
        }
    }
}

static inline __attribute__((always_inline)) void
gated_rows(const activations_t *from, int row, int rows, const matrix_t *matrix, int tile,
           float *out, int stride) {
    __m512 sums[MAX_ROWS][2];
    const __m512 one = _mm512_set1_ps(1.0f);
    products(from, row, rows, tile_at(matrix, tile), sums);
    for (int r = 0; r < rows; r++) {
        __m512 negative = _mm512_sub_ps(_mm512_setzero_ps(), sums[r][0]);
        __m512 silu = _mm512_div_ps(sums[r][0], _mm512_add_ps(one, exponential(negative)));
        _mm512_storeu_ps(out + (size_t)(row + r) * stride, _mm512_mul_ps(silu, sums[r][1]));
    }
}

/* Call a function with every number of rows as a constant. */
#define WITH_ROWS(rows, CALL)                                                                      \
    switch (rows) {                                                                                \
    case 6: CALL(6); break;                                                                        \
    case 5: CALL(5); break;                                                                        \
    case 4: CALL(4); break;                                                                        \
    case 3: CALL(3); break;                                                                        \
    case 2: CALL(2); break;                                                                        \
    default: CALL(1); break;                                                                       \
    }

void multiply(const activations_t *from, int num_rows, const matrix_t *matrix, tiles_t tiles,
              float *out, int stride, int adds) {
    for (int tile = tiles.first; tile < tiles.last; tile++, out += TILE) {
        for (int row = 0; row < num_rows; row += MAX_ROWS) {
            int rows = num_rows - row < MAX_ROWS ? num_rows - row : MAX_ROWS;
#define PLAIN(n) plain_rows(from, row, n, matrix, tile, out, stride, adds)
            WITH_ROWS(rows, PLAIN)
        }
    }
}

void multiply_gated(const activations_t *from, int num_rows, const matrix_t *matrix, tiles_t tiles,
                    float *out, int stride) {
    for (int tile = tiles.first; tile < tiles.last; tile++, out += LANES) {
        for (int row = 0; row < num_rows; row += MAX_ROWS) {
            int rows = num_rows - row < MAX_ROWS ? num_rows - row : MAX_ROWS;
#define GATED(n) gated_rows(from, row, n, matrix, tile, out, stride)
            WITH_ROWS(rows, GATED)
        }
    }
}
#endif
