/* What Python calls; the layout of these structures is repeated in engine/backends/native.py. */
#ifndef CXR_MODEL_H
#define CXR_MODEL_H

#include <stdint.h>

typedef struct {
    int32_t num_layers, width, num_heads, num_kv_heads, head_dim, hidden, num_columns, max_length, num_threads;
    float epsilon;
} cxr_shape_t;

/* Rows whose logits are wanted over one range of columns. */
typedef struct {
    int32_t num_rows, first_column, last_column; /* multiples of 32; the last not included */
    float *logits;                               /* [num_rows, last - first] */
} cxr_head_t;

typedef struct {
    int32_t num_rows;         /* tokens of all sequences */
    const float *embedded;    /* [num_rows, width] */
    const int32_t *positions; /* of each row in its sequence */
    float *const *caches;     /* of each row: what cxr_open_cache returned */
    int32_t num_wanted;
    const int32_t *wanted; /* rows whose logits are wanted, in the order of the heads */
    int32_t num_heads;
    const cxr_head_t *heads;
} cxr_call_t;

typedef struct cxr_model cxr_model_t;

int32_t cxr_is_supported(void);
cxr_model_t *cxr_open(const cxr_shape_t *shape);
/* `name` is the part of a layer, or "head"; 0: no such part, or other sizes than the shape's. */
int32_t cxr_set_matrix(cxr_model_t *model, int32_t layer, const char *name, const int8_t *values,
                       const float *scales, int32_t inner, int32_t columns);
int32_t cxr_set_vector(cxr_model_t *model, int32_t layer, const char *name, const float *values,
                       int32_t count);
float *cxr_open_cache(const cxr_model_t *model);
void cxr_close_cache(float *cache);
int32_t cxr_forward(cxr_model_t *model, const cxr_call_t *call);
void cxr_close(cxr_model_t *model);

#endif
