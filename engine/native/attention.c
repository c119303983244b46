/* Rotary positions and grouped-query attention over one sequence's cache, in float32. */
#include "kernels.h"

#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma")
#include "exponential.h"

/* Rotate halves of a head by position (arXiv 2104.09864, eq. 34; cosine and sine [D / 2]). */
void rotate_head(float *head, const float *cosine, const float *sine, int size) {
    int half = size / 2;
    for (int i = 0; i < half; i += 16) {
        __m512 a = _mm512_loadu_ps(head + i), b = _mm512_loadu_ps(head + half + i);
        __m512 c = _mm512_loadu_ps(cosine + i), s = _mm512_loadu_ps(sine + i);
        _mm512_storeu_ps(head + i, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
        _mm512_storeu_ps(head + half + i, _mm512_fmadd_ps(b, c, _mm512_mul_ps(a, s)));
    }
}

void store_key(float *keys, const float *key, int position, int size) {
    float *to = keys + (size_t)(position / LANES) * size * LANES + position % LANES;
    for (int i = 0; i < size; i++)
        to[i * LANES] = key[i];
}

/* scores [group][num_seen, padded] = queries x keys; returns nothing, keeps the greatest of each. */
static inline __attribute__((always_inline)) void
score(const float *queries, int group, const float *keys, int num_seen, int size, float *scores,
      int padded, float *greatest) {
    __m512 most[MAX_GROUP];
    for (int g = 0; g < group; g++)
        most[g] = _mm512_set1_ps(-INFINITY);
    for (int at = 0; at < num_seen; at += LANES, keys += (size_t)size * LANES) {
        __m512 sums[MAX_GROUP];
        for (int g = 0; g < group; g++)
            sums[g] = _mm512_setzero_ps();
        for (int i = 0; i < size; i++) {
            __m512 key = _mm512_loadu_ps(keys + i * LANES);
            for (int g = 0; g < group; g++)
                sums[g] = _mm512_fmadd_ps(_mm512_set1_ps(queries[g * size + i]), key, sums[g]);
        }
        int count = num_seen - at;
        __mmask16 seen = (__mmask16)(count >= LANES ? 0xFFFF : (1u << count) - 1);
        for (int g = 0; g < group; g++) {
            sums[g] = _mm512_mask_blend_ps(seen, _mm512_set1_ps(-INFINITY), sums[g]);
            most[g] = _mm512_max_ps(most[g], sums[g]);
            _mm512_storeu_ps(scores + (size_t)g * padded + at, sums[g]);
        }
    }
    for (int g = 0; g < group; g++)
        greatest[g] = _mm512_reduce_max_ps(most[g]);
}

/* Turn scores into weights that are not yet divided by their sum; return that sum. */
static float weigh(float *scores, int num_seen, float greatest) {
    __m512 total = _mm512_setzero_ps();
    for (int at = 0; at < num_seen; at += LANES) {
        int count = num_seen - at;
        __mmask16 seen = (__mmask16)(count >= LANES ? 0xFFFF : (1u << count) - 1);
        __m512 below = _mm512_sub_ps(_mm512_loadu_ps(scores + at), _mm512_set1_ps(greatest));
        __m512 weight = _mm512_maskz_mov_ps(seen, exponential(below));
        total = _mm512_add_ps(total, weight);
        _mm512_storeu_ps(scores + at, weight);
    }
    return _mm512_reduce_add_ps(total);
}

/* out [group][size] = weights x values, 64 of each row at a time. */
static inline __attribute__((always_inline)) void
mix(const float *weights, int padded, const float *totals, int group, const float *values,
    int num_seen, int size, float *out) {
    for (int part = 0; part < size; part += 32) {
        __m512 sums[MAX_GROUP][2];
        for (int g = 0; g < group; g++)
            sums[g][0] = sums[g][1] = _mm512_setzero_ps();
        for (int at = 0; at < num_seen; at++) {
            const float *row = values + (size_t)at * size + part;
            __m512 low = _mm512_loadu_ps(row), high = _mm512_loadu_ps(row + 16);
            for (int g = 0; g < group; g++) {
                __m512 weight = _mm512_set1_ps(weights[(size_t)g * padded + at]);
                sums[g][0] = _mm512_fmadd_ps(weight, low, sums[g][0]);
                sums[g][1] = _mm512_fmadd_ps(weight, high, sums[g][1]);
            }
        }
        for (int g = 0; g < group; g++) {
            __m512 factor = _mm512_set1_ps(1.0f / totals[g]);
            _mm512_storeu_ps(out + g * size + part, _mm512_mul_ps(sums[g][0], factor));
            _mm512_storeu_ps(out + g * size + part + 16, _mm512_mul_ps(sums[g][1], factor));
        }
    }
}

static inline __attribute__((always_inline)) void
attend_group(const float *queries, int group, const float *keys, const float *values, int num_seen,
             int size, float *scratch, float *out) {
    int padded = (num_seen + LANES - 1) / LANES * LANES;
    float greatest[MAX_GROUP], totals[MAX_GROUP];
    score(queries, group, keys, num_seen, size, scratch, padded, greatest);
    for (int g = 0; g < group; g++)
        totals[g] = weigh(scratch + (size_t)g * padded, num_seen, greatest[g]);
    mix(scratch, padded, totals, group, values, num_seen, size, out);
}

void attend(const float *queries, int group, const float *keys, const float *values, int num_seen,
            int size, float *scratch, float *out) {
    /* sums stay in registers where the number of heads is a constant */
    switch (group) {
    case 1: attend_group(queries, 1, keys, values, num_seen, size, scratch, out); break;
    case 2: attend_group(queries, 2, keys, values, num_seen, size, scratch, out); break;
    case 3: attend_group(queries, 3, keys, values, num_seen, size, scratch, out); break;
    case 4: attend_group(queries, 4, keys, values, num_seen, size, scratch, out); break;
    default: attend_group(queries, group, keys, values, num_seen, size, scratch, out); break;
    }
}
#endif
