/* e^x on 16 floats, for files that are compiled for AVX-512. */
#ifndef CXR_EXPONENTIAL_H
#define CXR_EXPONENTIAL_H

#include <immintrin.h>
#include <math.h>

/* Within 2 units of the last place: Cephes' polynomial on an argument reduced by powers of two. */
static inline __m512 exponential(__m512 x) {
    static const float terms[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                  4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
    /* the second operand is what comes back where one is no number: such a value stays none */
    x = _mm512_min_ps(_mm512_set1_ps(88.0f), _mm512_max_ps(_mm512_set1_ps(-87.0f), x));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 8);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 y = _mm512_set1_ps(terms[0]);
    for (int i = 1; i < 6; i++)
        y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(terms[i]));
    y = _mm512_add_ps(_mm512_fmadd_ps(y, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(y, n);
}

#endif
