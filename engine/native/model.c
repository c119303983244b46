/* A decoder of the Llama family: what is computed, phase by phase, by all threads together. */
#define _GNU_SOURCE
#include "model.h"

#include "kernels.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PIECE = 2 /* tiles that a thread takes at a time */, HUGE_PAGE = 1 << 21 };

typedef struct {
    matrix_t query, key, value, output, gated, down;
    float *attention_norm, *mlp_norm;
} layer_t;

struct cxr_model {
    cxr_shape_t shape;
    pool_t *pool;
    layer_t *layers;
    matrix_t head;
    uint8_t *weights; /* of all matrices, in the order in which they were set */
    size_t used_bytes, num_bytes;
    float *last_norm, *cosine, *sine;
    /* for as many rows as a call had so far */
    int num_rows;
    float *hidden, *projected, *mixed, *lifted, *scratch;
    activations_t narrow, wide;
};

/* One call as the threads see it. */
typedef struct {
    cxr_model_t *model;
    const cxr_call_t *call;
} run_t;

void *aligned_memory(size_t num_bytes) {
    size_t alignment = num_bytes >= HUGE_PAGE ? HUGE_PAGE : 64;
    void *memory = NULL;
    if (posix_memalign(&memory, alignment, num_bytes) != 0)
        return NULL;
#ifdef MADV_HUGEPAGE
    if (num_bytes >= HUGE_PAGE)
        madvise(memory, num_bytes, MADV_HUGEPAGE);
#endif
    memset(memory, 0, num_bytes);
    return memory;
}

int32_t cxr_is_supported(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma");
#else
    return 0;
#endif
}

#if defined(__x86_64__)

/* One piece of memory for all weights: they are read in this order, from large pages. */
static size_t weight_bytes(const cxr_shape_t *shape) {
    int attended = shape->num_heads * shape->head_dim, shared = shape->num_kv_heads * shape->head_dim;
    size_t layer = packed_bytes(shape->width, attended) + 2 * packed_bytes(shape->width, shared) +
                   packed_bytes(attended, shape->width) +
                   packed_bytes(shape->width, 2 * shape->hidden) +
                   packed_bytes(shape->hidden, shape->width);
    return layer * (size_t)shape->num_layers + packed_bytes(shape->width, shape->num_columns);
}

cxr_model_t *cxr_open(const cxr_shape_t *shape) {
    cxr_model_t *model = aligned_memory(sizeof *model);
    if (model == NULL)
        return NULL;
    model->shape = *shape;
    model->num_bytes = weight_bytes(shape);
    model->weights = aligned_memory(model->num_bytes);
    model->layers = aligned_memory(sizeof(layer_t) * (size_t)shape->num_layers);
    model->pool = pool_open(shape->num_threads);
    if (model->weights == NULL || model->layers == NULL || model->pool == NULL) {
        cxr_close(model);
        return NULL;
    }
    return model;
}

static matrix_t *matrix_named(cxr_model_t *model, int layer, const char *name) {
    layer_t *l = &model->layers[layer];
    const struct {
        const char *name;
        matrix_t *matrix;
    } parts[] = {{"query", &l->query},   {"key", &l->key},     {"value", &l->value},
                 {"output", &l->output}, {"gated", &l->gated}, {"down", &l->down},
                 {"head", &model->head}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strcmp(parts[i].name, name) == 0)
            return parts[i].matrix;
    return NULL;
}

static float **vector_named(cxr_model_t *model, int layer, const char *name) {
    layer_t *l = &model->layers[layer];
    const struct {
        const char *name;
        float **vector;
    } parts[] = {{"attention_norm", &l->attention_norm},
                 {"mlp_norm", &l->mlp_norm},
                 {"last_norm", &model->last_norm},
                 {"cosine", &model->cosine},
                 {"sine", &model->sine}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strcmp(parts[i].name, name) == 0)
            return parts[i].vector;
    return NULL;
}

int32_t cxr_set_matrix(cxr_model_t *model, int32_t layer, const char *name, const int8_t *values,
                       const float *scales, int32_t inner, int32_t columns) {
    matrix_t *matrix = matrix_named(model, layer, name);
    size_t num_bytes = packed_bytes(inner, columns);
    if (matrix == NULL || model->used_bytes + num_bytes > model->num_bytes)
        return 0;
    matrix_pack(matrix, model->weights + model->used_bytes, values, scales, inner, columns);
    model->used_bytes += num_bytes;
    return 1;
}

int32_t cxr_set_vector(cxr_model_t *model, int32_t layer, const char *name, const float *values,
                       int32_t count) {
    float **vector = vector_named(model, layer, name);
    if (vector == NULL || (*vector = aligned_memory(sizeof(float) * (size_t)count)) == NULL)
        return 0;
    memcpy(*vector, values, sizeof(float) * (size_t)count);
    return 1;
}

/* Floats that the keys, or the values, of one head of one layer take. */
static size_t head_floats(const cxr_shape_t *shape) {
    return (size_t)(shape->max_length + LANES - 1) / LANES * LANES * (size_t)shape->head_dim;
}

float *cxr_open_cache(const cxr_model_t *model) {
    const cxr_shape_t *shape = &model->shape;
    size_t heads = 2 * (size_t)shape->num_layers * (size_t)shape->num_kv_heads;
    return aligned_memory(sizeof(float) * heads * head_floats(shape));
}

void cxr_close_cache(float *cache) { free(cache); }

static float *keys_of(const cxr_shape_t *shape, float *cache, int layer, int head) {
    return cache + 2 * (size_t)(layer * shape->num_kv_heads + head) * head_floats(shape);
}

static float *values_of(const cxr_shape_t *shape, float *cache, int layer, int head) {
    return keys_of(shape, cache, layer, head) + head_floats(shape);
}

static int projected_width(const cxr_shape_t *shape) {
    return (shape->num_heads + 2 * shape->num_kv_heads) * shape->head_dim;
}

static void close_activations(activations_t *rows) {
    free(rows->values);
    free(rows->scales);
    free(rows->offsets);
    *rows = (activations_t){0};
}

static int open_activations(activations_t *rows, int num_rows, int inner) {
    size_t num_blocks = (size_t)num_rows * (size_t)(inner / BLOCK);
    *rows = (activations_t){inner, aligned_memory((size_t)num_rows * (size_t)inner),
                            aligned_memory(num_blocks * sizeof(float)),
                            aligned_memory(num_blocks * sizeof(int32_t))};
    return rows->values != NULL && rows->scales != NULL && rows->offsets != NULL;
}

static void close_rows(cxr_model_t *model) {
    float **buffers[] = {&model->hidden, &model->projected, &model->mixed, &model->lifted,
                         &model->scratch};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        free(*buffers[i]);
        *buffers[i] = NULL;
    }
    close_activations(&model->narrow);
    close_activations(&model->wide);
    model->num_rows = 0;
}

/* Floats of scratch memory of a thread: a normed row, or the scores of a group of heads. */
static size_t scratch_floats(const cxr_shape_t *shape) {
    size_t scores = (size_t)MAX_GROUP * (size_t)(shape->max_length + LANES);
    return scores > (size_t)shape->width ? scores : (size_t)shape->width;
}

static float *rows_of(size_t num_rows, int width) {
    return aligned_memory(sizeof(float) * num_rows * (size_t)width);
}

static int open_rows(cxr_model_t *model, int num_rows) {
    const cxr_shape_t *shape = &model->shape;
    int attended = shape->num_heads * shape->head_dim;
    int narrow = attended > shape->width ? attended : shape->width;
    size_t rows = (size_t)num_rows, threads = (size_t)pool_size(model->pool);
    if (num_rows <= model->num_rows)
        return 1;
    close_rows(model);
    model->hidden = rows_of(rows, shape->width);
    model->projected = rows_of(rows, projected_width(shape));
    model->mixed = rows_of(rows, attended);
    model->lifted = rows_of(rows, shape->hidden);
    model->scratch = aligned_memory(sizeof(float) * threads * scratch_floats(shape));
    if (!open_activations(&model->narrow, num_rows, narrow) ||
        !open_activations(&model->wide, num_rows, shape->hidden) || model->hidden == NULL ||
        model->projected == NULL || model->mixed == NULL || model->lifted == NULL ||
        model->scratch == NULL)
        return 0;
    model->num_rows = num_rows;
    return 1;
}

static void norm_rows(const run_t *run, const float *weight, float *scratch) {
    const cxr_shape_t *shape = &run->model->shape;
    run->model->narrow.inner = shape->width;
    for (int row; (row = pool_next(run->model->pool)) < run->call->num_rows;)
        norm_and_quantize_row(run->model->hidden + (size_t)row * shape->width, weight,
                              shape->epsilon, scratch, shape->width, &run->model->narrow, row);
    pool_barrier(run->model->pool);
}

static void quantize_rows(const run_t *run, const float *rows, int inner, activations_t *to) {
    to->inner = inner;
    for (int row; (row = pool_next(run->model->pool)) < run->call->num_rows;)
        quantize_row(rows + (size_t)row * inner, inner, to, row);
    pool_barrier(run->model->pool);
}

static tiles_t piece_of(int piece, int num_tiles) {
    int first = piece * PIECE, last = first + PIECE;
    return (tiles_t){first, last < num_tiles ? last : num_tiles};
}

static int num_pieces(int num_tiles) { return (num_tiles + PIECE - 1) / PIECE; }

/* Queries, keys and values: three matrices side by side. */
static void project(const run_t *run, const layer_t *layer) {
    const cxr_model_t *model = run->model;
    const matrix_t *parts[] = {&layer->query, &layer->key, &layer->value};
    int stride = projected_width(&model->shape);
    for (int piece; (piece = pool_next(model->pool)) >= 0;) {
        int part = 0, column = 0;
        while (part < 3 && piece >= num_pieces(parts[part]->num_tiles)) {
            piece -= num_pieces(parts[part]->num_tiles);
            column += parts[part++]->columns;
        }
        if (part == 3)
            break;
        tiles_t tiles = piece_of(piece, parts[part]->num_tiles);
        multiply(&model->narrow, run->call->num_rows, parts[part], tiles,
                 model->projected + column + tiles.first * TILE, stride, 0);
    }
    pool_barrier(model->pool);
}

/* Rotate queries and keys; put keys and values into the caches. */
static void remember(const run_t *run, int layer) {
    const cxr_model_t *model = run->model;
    const cxr_shape_t *shape = &model->shape;
    int size = shape->head_dim, stride = projected_width(shape);
    for (int row; (row = pool_next(model->pool)) < run->call->num_rows;) {
        int position = run->call->positions[row];
        const float *cosine = model->cosine + (size_t)position * (size_t)(size / 2);
        const float *sine = model->sine + (size_t)position * (size_t)(size / 2);
        float *head = model->projected + (size_t)row * stride;
        for (int i = 0; i < shape->num_heads + shape->num_kv_heads; i++)
            rotate_head(head + i * size, cosine, sine, size);
        head += shape->num_heads * size;
        for (int i = 0; i < shape->num_kv_heads; i++, head += size) {
            float *cache = run->call->caches[row];
            store_key(keys_of(shape, cache, layer, i), head, position, size);
            memcpy(values_of(shape, cache, layer, i) + (size_t)position * size,
                   head + shape->num_kv_heads * size, sizeof(float) * (size_t)size);
        }
    }
    pool_barrier(model->pool);
}

static void attend_all(const run_t *run, int layer, float *scratch) {
    const cxr_model_t *model = run->model;
    const cxr_shape_t *shape = &model->shape;
    int size = shape->head_dim, group = shape->num_heads / shape->num_kv_heads;
    int num_pairs = run->call->num_rows * shape->num_kv_heads;
    for (int piece; (piece = pool_next(model->pool)) < num_pairs;) {
        int row = piece / shape->num_kv_heads, head = piece % shape->num_kv_heads;
        float *cache = run->call->caches[row];
        int first = head * group * size;
        attend(model->projected + (size_t)row * projected_width(shape) + first, group,
               keys_of(shape, cache, layer, head), values_of(shape, cache, layer, head),
               run->call->positions[row] + 1, size, scratch,
               model->mixed + (size_t)row * shape->num_heads * size + first);
    }
    pool_barrier(model->pool);
}

/* hidden += activations x matrix */
static void add_product(const run_t *run, const activations_t *from, const matrix_t *matrix) {
    const cxr_model_t *model = run->model;
    for (int piece; (piece = pool_next(model->pool)) < num_pieces(matrix->num_tiles);) {
        tiles_t tiles = piece_of(piece, matrix->num_tiles);
        multiply(from, run->call->num_rows, matrix, tiles, model->hidden + tiles.first * TILE,
                 model->shape.width, 1);
    }
    pool_barrier(model->pool);
}

static void lift(const run_t *run, const layer_t *layer) {
    const cxr_model_t *model = run->model;
    for (int piece; (piece = pool_next(model->pool)) < num_pieces(layer->gated.num_tiles);) {
        tiles_t tiles = piece_of(piece, layer->gated.num_tiles);
        multiply_gated(&model->narrow, run->call->num_rows, &layer->gated, tiles,
                       model->lifted + tiles.first * LANES, model->shape.hidden);
    }
    pool_barrier(model->pool);
}

static void run_layer(const run_t *run, int index, float *scratch) {
    cxr_model_t *model = run->model;
    const layer_t *layer = &model->layers[index];
    int attended = model->shape.num_heads * model->shape.head_dim;
    norm_rows(run, layer->attention_norm, scratch);
    project(run, layer);
    remember(run, index);
    attend_all(run, index, scratch);
    quantize_rows(run, model->mixed, attended, &model->narrow);
    add_product(run, &model->narrow, &layer->output);
    norm_rows(run, layer->mlp_norm, scratch);
    lift(run, layer);
    quantize_rows(run, model->lifted, model->shape.hidden, &model->wide);
    add_product(run, &model->wide, &layer->down);
}

/* The logits of one group of wanted rows, which lie side by side among the activations. */
static void run_head(const run_t *run, int first_row, const cxr_head_t *head) {
    const cxr_model_t *model = run->model;
    activations_t from = model->narrow;
    size_t num_blocks = (size_t)(from.inner / BLOCK);
    int first = head->first_column / TILE, last = (head->last_column + TILE - 1) / TILE;
    from.values += (size_t)first_row * (size_t)from.inner;
    from.scales += (size_t)first_row * num_blocks;
    from.offsets += (size_t)first_row * num_blocks;
    for (int piece; (piece = pool_next(model->pool)) < num_pieces(last - first);) {
        tiles_t tiles = piece_of(piece, last - first);
        float *out = head->logits + tiles.first * TILE;
        tiles.first += first;
        tiles.last += first;
        multiply(&from, head->num_rows, &model->head, tiles, out,
                 head->last_column - head->first_column, 0);
    }
    pool_barrier(model->pool);
}

static void run_heads(const run_t *run, float *scratch) {
    cxr_model_t *model = run->model;
    int width = model->shape.width, row = 0;
    model->narrow.inner = width;
    for (int i; (i = pool_next(model->pool)) < run->call->num_wanted;)
        norm_and_quantize_row(model->hidden + (size_t)run->call->wanted[i] * width,
                              model->last_norm, model->shape.epsilon, scratch, width,
                              &model->narrow, i);
    pool_barrier(model->pool);
    for (int i = 0; i < run->call->num_heads; i++) {
        run_head(run, row, &run->call->heads[i]);
        row += run->call->heads[i].num_rows;
    }
}

static void run_all(void *argument, int thread) {
    const run_t *run = argument;
    float *scratch = run->model->scratch + (size_t)thread * scratch_floats(&run->model->shape);
    for (int layer = 0; layer < run->model->shape.num_layers; layer++)
        run_layer(run, layer, scratch);
    run_heads(run, scratch);
}

int32_t cxr_forward(cxr_model_t *model, const cxr_call_t *call) {
    run_t run = {model, call};
    if (!open_rows(model, call->num_rows))
        return 0;
    memcpy(model->hidden, call->embedded,
           sizeof(float) * (size_t)call->num_rows * (size_t)model->shape.width);
    pool_run(model->pool, run_all, &run);
    return 1;
}

void cxr_close(cxr_model_t *model) {
    if (model->pool != NULL)
        pool_close(model->pool);
    close_rows(model);
    for (int i = 0; model->layers != NULL && i < model->shape.num_layers; i++) {
        layer_t *l = &model->layers[i];
        free(l->attention_norm);
        free(l->mlp_norm);
    }
    free(model->layers);
    free(model->weights);
    free(model->last_norm);
    free(model->cosine);
    free(model->sine);
    free(model);
}

#else /* another processor: cxr_is_supported says so, and nothing else is called */

cxr_model_t *cxr_open(const cxr_shape_t *shape) { return (void)shape, NULL; }

#endif
