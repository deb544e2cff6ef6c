/* The layers. Compiled once for each instruction set and precision.

   Sequences are independent, so a block of them (one or two vectors wide) goes through all steps
   before the next block starts: its states stay in the first-level cache. A step is a product with
   packed weights, whose sums stay in registers, and the gates, computed from these registers. */

#include "recurrent.h"
#include "vector.h"

/* How many rows of a product stay in registers, for two vectors of sequences. Measured. */
#if defined(LEVEL_AVX512) || defined(LEVEL_NEON) /* 32 registers */
#define RNN_UNITS 8
#define GATED_UNITS 2
#define BACK_UNITS 8
#else /* 16 registers */
#define RNN_UNITS 4
#define GATED_UNITS 1
#define BACK_UNITS 4
#endif
#define WIDEST 2
#define MOST_SUMS (8 * WIDEST)

enum { RNN, GRU, LSTM };

/* Blocks of weights, and sums of a unit in a step: the GRU's candidate has one sum over the inputs
   and one over the states. */
#define GATES(cell) ((cell) == RNN ? 1 : (cell) == GRU ? 3 : 4)
#define SUMS(cell) ((cell) == RNN ? 1 : 4)
#define UNITS(cell) ((cell) == RNN ? RNN_UNITS : GATED_UNITS)

#define UNROLLED _Pragma("GCC unroll 16") for

static int64_t round_up(int64_t number, int64_t to) { return (number + to - 1) / to * to; }

/* Copy weights (gates * hidden_size, depth) in the order in which `product` reads them. */
INLINE void pack(REAL *packed, const REAL *weights, int64_t hidden, int64_t depth, int gates, int units)
{
    for (int64_t first = 0; first < hidden; first += units)
        for (int64_t k = 0; k < depth; k++)
            for (int unit = 0; unit < units; unit++)
                for (int gate = 0; gate < gates; gate++)
                    *packed++ = first + unit < hidden ? weights[(gate * hidden + first + unit) * depth + k] : 0;
}

/* The same of the transpose of weights (rows, hidden_size). */
INLINE void pack_transposed(REAL *packed, const REAL *weights, int64_t hidden, int64_t rows, int units)
{
    for (int64_t first = 0; first < hidden; first += units)
        for (int64_t k = 0; k < rows; k++)
            for (int unit = 0; unit < units; unit++)
                *packed++ = first + unit < hidden ? weights[k * hidden + first + unit] : 0;
}

/* sums += weights @ values, for values (depth, width vectors). Gate g of unit u adds to sum
   u * n_sums + g, or to u * n_sums + candidate if g is 2 in a GRU. */
INLINE void product(vec *sums, const REAL *weights, const REAL *values, int64_t depth, const int width,
                    const int units, const int gates, const int n_sums, const int candidate)
{
    for (int64_t k = 0; k < depth; k++) {
        vec given[WIDEST];
        UNROLLED(int c = 0; c < width; c++) given[c] = load(values + c * LANES);
        UNROLLED(int row = 0; row < units * gates; row++)
        {
            int gate = row % gates;
            int sum = row / gates * n_sums + (gates == 3 && gate == 2 ? candidate : gate);
            UNROLLED(int c = 0; c < width; c++) sums[sum * width + c] += weights[row] * given[c];
        }
        weights += units * gates;
        values += width * LANES;
    }
}

INLINE void copy_rows(REAL *to, const REAL *from, int64_t rows, int64_t stride, const int width)
{
    for (int64_t row = 0; row < rows; row++)
        UNROLLED(int c = 0; c < width; c++) store(to + (row * width + c) * LANES, load(from + row * stride + c * LANES));
}

/* Where a unit's numbers of a step are: kept[gate] is `kept + gate * hidden * stride`. */
typedef struct {
    Shape shape;
    const REAL *inputs;  /* (input_size, stride) */
    const REAL *w_ih, *w_hh, *biases;  /* packed */
    REAL *states;  /* (hidden_size, stride), or NULL */
    REAL *kept;  /* (n kept * hidden_size, stride), or NULL */
    REAL *last;  /* (batch_size, hidden_size), or NULL */
    REAL *own;  /* room for a block's inputs, states before and after, and cell states */
} Forward;

INLINE void forward_units(const Forward *layer, const int cell, const int width, int64_t first, int64_t place,
                          const REAL *inputs, const REAL *before, REAL *after, REAL *cells)
{
    const int units = UNITS(cell), gates = GATES(cell), n_sums = SUMS(cell);
    const int64_t hidden = layer->shape.hidden_size, given = layer->shape.input_size;
    const int64_t stride = layer->shape.stride, next = place + layer->shape.columns;
    vec sums[MOST_SUMS];
    UNROLLED(int sum = 0; sum < units * n_sums; sum++)
        UNROLLED(int c = 0; c < width; c++) sums[sum * width + c] = splat(layer->biases[first * n_sums + sum]);
    product(sums, layer->w_ih + first * gates * given, inputs, given, width, units, gates, n_sums, 3);
    product(sums, layer->w_hh + first * gates * hidden, before, hidden, width, units, gates, n_sums, 2);
    UNROLLED(int unit = 0; unit < units; unit++)
    {
        const int64_t j = first + unit;
        const int is_kept = layer->kept && j < hidden;
        UNROLLED(int c = 0; c < width; c++)
        {
            REAL *kept = layer->kept + j * stride + place + c * LANES;
            const int64_t own = (j * width + c) * LANES, block = hidden * stride;
            vec *sum = sums + unit * n_sums * width + c, state;
            if (cell == RNN) {
                state = vec_tanh(sum[0]);
            } else if (cell == GRU) {
                vec reset = vec_sigmoid(sum[0]), update = vec_sigmoid(sum[width]), through = sum[2 * width];
                vec candidate = vec_tanh(sum[3 * width] + reset * through);
                state = candidate + update * (load(before + own) - candidate);
                if (is_kept) {
                    store(kept, reset);
                    store(kept + block, update);
                    store(kept + 2 * block, through);
                    store(kept + 3 * block, candidate);
                }
            } else {
                vec input = vec_sigmoid(sum[0]), forget = vec_sigmoid(sum[width]);
                vec candidate = vec_tanh(sum[2 * width]), output = vec_sigmoid(sum[3 * width]);
                vec content = forget * load(cells + own) + input * candidate, squashed = vec_tanh(content);
                state = output * squashed;
                store(cells + own, content);
                if (is_kept) {
                    store(kept, input);
                    store(kept + block, forget);
                    store(kept + 2 * block, candidate);
                    store(kept + 3 * block, output);
                    store(kept + 4 * block, squashed);
                    store(kept + 5 * block + layer->shape.columns, content);
                }
            }
            store(after + own, state);
            if (layer->states && j < hidden)
                store(layer->states + j * stride + next + c * LANES, state);
        }
    }
}

INLINE void forward_block(const Forward *layer, const int cell, const int width, int64_t column)
{
    const Shape shape = layer->shape;
    const int64_t hidden = shape.hidden_size, padded = round_up(hidden, UNITS(cell));
    const int64_t size = padded * width * LANES;
    REAL *before = layer->own, *after = before + size, *cells = after + size, *inputs = cells + size;
    memset(before, 0, 3 * size * sizeof(REAL));
    for (int64_t j = 0; j < hidden; j++) {
        if (layer->states)
            memset(layer->states + j * shape.stride + column, 0, width * VECTOR_BYTES);
        if (cell == LSTM && layer->kept)
            memset(layer->kept + (5 * hidden + j) * shape.stride + column, 0, width * VECTOR_BYTES);
    }
    for (int64_t step = 0; step < shape.steps; step++) {
        const int64_t place = step * shape.columns + column;
        copy_rows(inputs, layer->inputs + place, shape.input_size, shape.stride, width);
        for (int64_t first = 0; first < hidden; first += UNITS(cell))
            forward_units(layer, cell, width, first, place, inputs, before, after, cells);
        REAL *swap = before;
        before = after;
        after = swap;
    }
    if (layer->last)
        for (int64_t b = 0; b < width * LANES && column + b < shape.batch_size; b++)
            for (int64_t j = 0; j < hidden; j++)
                layer->last[(column + b) * hidden + j] = before[j * width * LANES + b];
}

INLINE void forward(const int cell, const Shape *shape, const REAL *inputs, const REAL *w_ih, const REAL *w_hh,
                    const REAL *b_ih, const REAL *b_hh, REAL *states, REAL *kept, REAL *last, REAL *workspace)
{
    const int units = UNITS(cell), gates = GATES(cell), n_sums = SUMS(cell);
    const int64_t hidden = shape->hidden_size, padded = round_up(hidden, units);
    REAL *packed_hh = workspace, *packed_ih = packed_hh + round_up(padded * gates * hidden, LANES);
    REAL *biases = packed_ih + round_up(padded * gates * shape->input_size, LANES);
    pack(packed_hh, w_hh, hidden, hidden, gates, units);
    pack(packed_ih, w_ih, hidden, shape->input_size, gates, units);
    for (int64_t j = 0; j < padded; j++)
        for (int sum = 0; sum < n_sums; sum++) {
            const int gate = cell == GRU && sum == 3 ? 2 : sum;
            const REAL from_x = j < hidden ? b_ih[gate * hidden + j] : 0, from_h = j < hidden ? b_hh[gate * hidden + j] : 0;
            biases[j * n_sums + sum] = cell == GRU && sum == 2 ? from_h : cell == GRU && sum == 3 ? from_x : from_x + from_h;
        }
    REAL *own = biases + round_up(padded * n_sums, LANES);
    const Forward layer = {*shape, inputs, packed_ih, packed_hh, biases, states, kept, last, own};
    int64_t column = 0;
    for (; column + 2 * LANES <= shape->columns; column += 2 * LANES)
        forward_block(&layer, cell, 2, column);
    if (column < shape->columns)
        forward_block(&layer, cell, 1, column);
}

/* Backpropagation through time. Gradients of the sums replace nothing: they go to `grads`. */
typedef struct {
    Shape shape;
    const REAL *w_hh;  /* packed, transposed */
    const REAL *states, *kept;
    const REAL *grad_states;  /* (hidden_size, stride), or NULL */
    const REAL *grad_last;  /* (batch_size, hidden_size), or NULL */
    REAL *grads;  /* (sums of a unit * hidden_size, stride) */
    REAL *own;  /* room for a block's gradients of the gates after, of those before, and of the states */
} Backward;

INLINE void backward_units(const Backward *layer, const int cell, const int width, int64_t first, int64_t place,
                           int64_t depth, const REAL *later, REAL *earlier, REAL *carried, REAL *to_cells)
{
    const int64_t hidden = layer->shape.hidden_size, stride = layer->shape.stride, block = hidden * stride;
    const int64_t own_block = hidden * width * LANES;
    vec sums[MOST_SUMS];
    UNROLLED(int unit = 0; unit < BACK_UNITS; unit++)
        UNROLLED(int c = 0; c < width; c++) sums[unit * width + c] = load(carried + ((first + unit) * width + c) * LANES);
    product(sums, layer->w_hh + first * GATES(cell) * hidden, later, depth, width, BACK_UNITS, 1, 1, 0);
    UNROLLED(int unit = 0; unit < BACK_UNITS; unit++)
    {
        const int64_t j = first + unit;
        if (j >= hidden)
            break;
        UNROLLED(int c = 0; c < width; c++)
        {
            const int64_t at = j * stride + place + c * LANES, own = (j * width + c) * LANES;
            const REAL *kept = layer->kept + at, *states = layer->states + at;
            REAL *grads = layer->grads + at;
            vec grad = sums[unit * width + c], kept_grad = splat(0);
            if (layer->grad_states)
                grad += load(layer->grad_states + at);
            if (cell == RNN) {
                vec state = load(states + layer->shape.columns);
                vec inside = grad * (1 - state * state);
                store(grads, inside);
                store(earlier + own, inside);
            } else if (cell == GRU) {
                vec reset = load(kept), update = load(kept + block), through = load(kept + 2 * block);
                vec candidate = load(kept + 3 * block);
                vec inside = grad * (1 - update) * (1 - candidate * candidate), to_through = inside * reset;
                vec to_reset = inside * through * reset * (1 - reset);
                vec to_update = grad * (load(states) - candidate) * update * (1 - update);
                kept_grad = grad * update;
                store(grads, to_reset);
                store(grads + block, to_update);
                store(grads + 2 * block, to_through);
                store(grads + 3 * block, inside);
                store(earlier + own, to_reset);
                store(earlier + own + own_block, to_update);
                store(earlier + own + 2 * own_block, to_through);
            } else {
                vec input = load(kept), forget = load(kept + block), candidate = load(kept + 2 * block);
                vec output = load(kept + 3 * block), squashed = load(kept + 4 * block);
                vec to_cell = load(to_cells + own) + grad * output * (1 - squashed * squashed);
                vec to_input = to_cell * candidate * input * (1 - input);
                vec to_forget = to_cell * load(kept + 5 * block) * forget * (1 - forget);
                vec to_candidate = to_cell * input * (1 - candidate * candidate);
                vec to_output = grad * squashed * output * (1 - output);
                store(to_cells + own, to_cell * forget);
                store(grads, to_input);
                store(grads + block, to_forget);
                store(grads + 2 * block, to_candidate);
                store(grads + 3 * block, to_output);
                store(earlier + own, to_input);
                store(earlier + own + own_block, to_forget);
                store(earlier + own + 2 * own_block, to_candidate);
                store(earlier + own + 3 * own_block, to_output);
            }
            store(carried + own, kept_grad);
        }
    }
}

INLINE void backward_block(const Backward *layer, const int cell, const int width, int64_t column)
{
    const Shape shape = layer->shape;
    const int64_t hidden = shape.hidden_size, padded = round_up(hidden, BACK_UNITS), size = width * LANES;
    REAL *later = layer->own, *earlier = later + GATES(cell) * hidden * size;
    REAL *carried = earlier + GATES(cell) * hidden * size, *to_cells = carried + padded * size;
    memset(carried, 0, 2 * padded * size * sizeof(REAL));
    if (layer->grad_last)
        for (int64_t b = 0; b < size && column + b < shape.batch_size; b++)
            for (int64_t j = 0; j < hidden; j++)
                carried[j * size + b] = layer->grad_last[(column + b) * hidden + j];
    int64_t depth = 0; /* no step comes after the last one */
    for (int64_t step = shape.steps - 1; step >= 0; step--) {
        for (int64_t first = 0; first < hidden; first += BACK_UNITS)
            backward_units(layer, cell, width, first, step * shape.columns + column, depth, later, earlier, carried, to_cells);
        REAL *swap = later;
        later = earlier;
        earlier = swap;
        depth = GATES(cell) * hidden;
    }
}

INLINE void backward(const int cell, const Shape *shape, const REAL *w_hh, const REAL *states, const REAL *kept,
                     const REAL *grad_states, const REAL *grad_last, REAL *grads, REAL *workspace)
{
    const int64_t hidden = shape->hidden_size, rows = GATES(cell) * hidden;
    REAL *own = workspace + round_up(round_up(hidden, BACK_UNITS) * rows, LANES);
    pack_transposed(workspace, w_hh, hidden, rows, BACK_UNITS);
    const Backward layer = {*shape, workspace, states, kept, grad_states, grad_last, grads, own};
    int64_t column = 0;
    for (; column + 2 * LANES <= shape->columns; column += 2 * LANES)
        backward_block(&layer, cell, 2, column);
    if (column < shape->columns)
        backward_block(&layer, cell, 1, column);
}

#define LAYER(name, cell)                                                                                       \
    void EXPORT(name##_forward)(const Shape *shape, const REAL *inputs, const REAL *w_ih, const REAL *w_hh,     \
                                const REAL *b_ih, const REAL *b_hh, REAL *states, REAL *kept, REAL *last,       \
                                REAL *workspace)                                                                \
    {                                                                                                           \
        forward(cell, shape, inputs, w_ih, w_hh, b_ih, b_hh, states, kept, last, workspace);                    \
    }                                                                                                           \
    void EXPORT(name##_backward)(const Shape *shape, const REAL *w_hh, const REAL *states, const REAL *kept,    \
                                 const REAL *grad_states, const REAL *grad_last, REAL *grads, REAL *workspace)  \
    {                                                                                                           \
        backward(cell, shape, w_hh, states, kept, grad_states, grad_last, grads, workspace);                    \
    }

LAYER(rnn, RNN)
LAYER(gru, GRU)
LAYER(lstm, LSTM)

/* The numbers that a vector holds: `columns` is a multiple of it. */
int64_t EXPORT(lanes)(void) { return LANES; }

/* Numbers that `workspace` of a layer must hold, forward or backward. */
int64_t EXPORT(workspace)(const Shape *shape)
{
    const int64_t padded = round_up(shape->hidden_size, 8), given = round_up(shape->input_size, LANES);
    const int64_t weights = 4 * padded * (shape->hidden_size + given) + 4 * padded + 4 * LANES;
    return weights + (11 * padded + given) * WIDEST * LANES;
}

/* From (batch_size, steps, size) to (size, stride); columns beyond the batch repeat its last
   sequence, or are 0. `shape->input_size` is the size. A vector of sequences goes through all steps
   before the next: each sequence is read in its own order. */
void EXPORT(to_rows)(const Shape *shape, const REAL *sequences, REAL *rows, int32_t zeros)
{
    const int64_t size = shape->input_size, batch = shape->batch_size, length = shape->steps * size;
    for (int64_t first = 0; first < shape->columns; first += LANES)
        for (int64_t step = 0; step < shape->steps; step++)
            for (int64_t b = first; b < first + LANES; b++) {
                const REAL *from = sequences + (b < batch ? b : batch - 1) * length + step * size;
                REAL *to = rows + step * shape->columns + b;
                for (int64_t i = 0; i < size; i++)
                    to[i * shape->stride] = b >= batch && zeros ? 0 : from[i];
            }
}

/* From (size, stride) to (batch_size, steps, size). */
void EXPORT(to_sequences)(const Shape *shape, const REAL *rows, REAL *sequences)
{
    const int64_t size = shape->input_size, batch = shape->batch_size, length = shape->steps * size;
    for (int64_t first = 0; first < batch; first += LANES)
        for (int64_t step = 0; step < shape->steps; step++)
            for (int64_t b = first; b < first + LANES && b < batch; b++) {
                const REAL *from = rows + step * shape->columns + b;
                REAL *to = sequences + b * length + step * size;
                for (int64_t i = 0; i < size; i++)
                    to[i] = from[i * shape->stride];
            }
}
