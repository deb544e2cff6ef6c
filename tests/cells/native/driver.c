/* Runs every kernel on arrays of exactly the documented sizes: for the sanitizers, and for processors
   that are emulated. States in float64 are compared with a plain loop, gradients in float64 with
   finite differences, and all of float32 with float64. Prints nothing if all agree. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recurrent.h"

#define DECLARE(name, dtype, real)                                                                  \
    void NAMED(name##_forward, dtype, LEVEL)(const Shape *, const real *, const real *, const real *, \
                                             const real *, const real *, real *, real *, real *, real *); \
    void NAMED(name##_backward, dtype, LEVEL)(const Shape *, const real *, const real *, const real *, \
                                              const real *, const real *, real *, real *);
#define DECLARE_ALL(dtype, real)                                                            \
    DECLARE(rnn, dtype, real)                                                               \
    DECLARE(gru, dtype, real)                                                               \
    DECLARE(lstm, dtype, real)                                                              \
    int64_t NAMED(lanes, dtype, LEVEL)(void);                                               \
    int64_t NAMED(workspace, dtype, LEVEL)(const Shape *);                                  \
    void NAMED(to_rows, dtype, LEVEL)(const Shape *, const real *, real *, int32_t);        \
    void NAMED(to_sequences, dtype, LEVEL)(const Shape *, const real *, real *);
DECLARE_ALL(f32, float)
DECLARE_ALL(f64, double)

static const int GATES[] = {1, 3, 4}, KEPT[] = {0, 4, 6}, GRADS[] = {1, 4, 4};

static double uniform(void) { return rand() / (double)RAND_MAX - 0.5; }

static void *fresh(int64_t numbers, size_t size)
{
    void *memory = NULL; /* filled with what is no number, so that nothing relies on zeros */
    if (posix_memalign(&memory, 64, numbers * size + !numbers))
        exit(2);
    memset(memory, 0xff, numbers * size);
    return memory;
}

/* Forward and backward of one layer. `outputs`: (batch, steps, hidden), the gradients of all sums as
   rows, of which (steps * columns) of each row are used. */
#define RUN(dtype, real)                                                                                          \
    static void run_##dtype(int cell, Shape *shape, const double *inputs, const double *weights, const double *grad, \
                            double *outputs, double *grads)                                                       \
    {                                                                                                             \
        const int64_t hidden = shape->hidden_size, given = shape->input_size, batch = shape->batch_size;          \
        const int64_t lanes = NAMED(lanes, dtype, LEVEL)(), length = batch * shape->steps;                        \
        shape->columns = (batch + lanes - 1) / lanes * lanes;                                                     \
        shape->stride = ((shape->steps + 1) * shape->columns + lanes - 1) / lanes * lanes;                        \
        const int64_t numbers = GATES[cell] * hidden * (given + hidden + 2);                                      \
        real *x = fresh(length * given, sizeof(real)), *w = fresh(numbers, sizeof(real));                         \
        real *g = fresh(length * hidden, sizeof(real)), *out = fresh(length * hidden, sizeof(real));              \
        for (int64_t i = 0; i < length * given; i++) x[i] = inputs[i];                                            \
        for (int64_t i = 0; i < numbers; i++) w[i] = weights[i];                                                  \
        for (int64_t i = 0; i < length * hidden; i++) g[i] = grad[i];                                             \
        real *rows = fresh(given * shape->stride, sizeof(real));                                                  \
        real *states = fresh(hidden * shape->stride, sizeof(real));                                               \
        real *kept = fresh(KEPT[cell] * hidden * shape->stride, sizeof(real));                                    \
        real *to_states = fresh(hidden * shape->stride, sizeof(real));                                            \
        real *sums = fresh(GRADS[cell] * hidden * shape->stride, sizeof(real));                                   \
        real *last = fresh(batch * hidden, sizeof(real));                                                         \
        real *space = fresh(NAMED(workspace, dtype, LEVEL)(shape), sizeof(real));                                 \
        const real *w_hh = w + GATES[cell] * hidden * given, *b_ih = w_hh + GATES[cell] * hidden * hidden;        \
        const real *b_hh = b_ih + GATES[cell] * hidden;                                                           \
        void (*forward[])(const Shape *, const real *, const real *, const real *, const real *, const real *,    \
                          real *, real *, real *, real *) = {NAMED(rnn_forward, dtype, LEVEL),                    \
                                                             NAMED(gru_forward, dtype, LEVEL),                    \
                                                             NAMED(lstm_forward, dtype, LEVEL)};                  \
        void (*backward[])(const Shape *, const real *, const real *, const real *, const real *, const real *,   \
                           real *, real *) = {NAMED(rnn_backward, dtype, LEVEL), NAMED(gru_backward, dtype, LEVEL), \
                                              NAMED(lstm_backward, dtype, LEVEL)};                                \
        NAMED(to_rows, dtype, LEVEL)(shape, x, rows, 0);                                                          \
        forward[cell](shape, rows, w, w_hh, b_ih, b_hh, NULL, NULL, last, space);                                 \
        forward[cell](shape, rows, w, w_hh, b_ih, b_hh, states, cell ? kept : NULL, NULL, space);                 \
        Shape outside = *shape;                                                                                   \
        outside.input_size = hidden;                                                                              \
        NAMED(to_rows, dtype, LEVEL)(&outside, g, to_states, 1);                                                  \
        NAMED(to_sequences, dtype, LEVEL)(&outside, states + shape->columns, out);                                \
        backward[cell](shape, w_hh, states, cell ? kept : NULL, to_states, NULL, sums, space);                    \
        for (int64_t i = 0; i < length * hidden; i++) outputs[i] = out[i];                                        \
        for (int64_t b = 0; b < batch; b++)                                                                       \
            for (int64_t j = 0; j < hidden; j++)                                                                  \
                if (last[b * hidden + j] != out[((b + 1) * shape->steps - 1) * hidden + j])                       \
                    fprintf(stderr, "another last state\n"), exit(1);                                             \
        for (int64_t row = 0; row < GRADS[cell] * hidden; row++) {                                                \
            double sum = 0; /* the gradient of a bias */                                                          \
            for (int64_t i = 0; i < shape->steps * shape->columns; i++) sum += sums[row * shape->stride + i];     \
            grads[row] = sum;                                                                                     \
        }                                                                                                         \
        void *all[] = {x, w, g, out, rows, states, kept, to_states, sums, last, space};                           \
        for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) free(all[i]);                                     \
    }
RUN(f32, float)
RUN(f64, double)

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* The states by plain loops. */
static void plain(int cell, const Shape *shape, const double *x, const double *w, double *out)
{
    const int64_t hidden = shape->hidden_size, given = shape->input_size, rows = GATES[cell] * hidden;
    const double *w_hh = w + rows * given, *b_ih = w_hh + rows * hidden, *b_hh = b_ih + rows;
    double *from_x = malloc(rows * sizeof(double)), *from_h = malloc(rows * sizeof(double));
    double *h = malloc(hidden * sizeof(double)), *c = malloc(hidden * sizeof(double));
    for (int64_t b = 0; b < shape->batch_size; b++) {
        for (int64_t j = 0; j < hidden; j++) h[j] = c[j] = 0;
        for (int64_t t = 0; t < shape->steps; t++, x += given, out += hidden) {
            for (int64_t row = 0; row < rows; row++) {
                from_x[row] = b_ih[row], from_h[row] = b_hh[row];
                for (int64_t i = 0; i < given; i++) from_x[row] += w[row * given + i] * x[i];
                for (int64_t j = 0; j < hidden; j++) from_h[row] += w_hh[row * hidden + j] * h[j];
            }
            for (int64_t j = 0; j < hidden; j++) {
                const double first = from_x[j] + from_h[j];
                if (cell == 0) {
                    h[j] = tanh(first);
                } else if (cell == 1) {
                    const double z = sigmoid(from_x[hidden + j] + from_h[hidden + j]);
                    const double n = tanh(from_x[2 * hidden + j] + sigmoid(first) * from_h[2 * hidden + j]);
                    h[j] = (1 - z) * n + z * h[j];
                } else {
                    const double f = sigmoid(from_x[hidden + j] + from_h[hidden + j]);
                    const double g = tanh(from_x[2 * hidden + j] + from_h[2 * hidden + j]);
                    c[j] = f * c[j] + sigmoid(first) * g;
                    h[j] = sigmoid(from_x[3 * hidden + j] + from_h[3 * hidden + j]) * tanh(c[j]);
                }
                out[j] = h[j];
            }
        }
    }
    free(from_x), free(from_h), free(h), free(c);
}

static void check(const char *what, int cell, const Shape *shape, double got, double expected, double tolerance)
{
    if (fabs(got - expected) <= tolerance * (1 + fabs(expected)))
        return;
    fprintf(stderr, "%s of cell %d, hidden %d, batch %d, steps %d: expected %.12g, got %.12g\n", what, cell,
            (int)shape->hidden_size, (int)shape->batch_size, (int)shape->steps, expected, got);
    exit(1);
}

int main(void)
{
    const int shapes[][4] = {{1, 1, 1, 1}, {3, 5, 7, 2}, {2, 16, 3, 33}, {5, 17, 4, 16}, {9, 2, 6, 70}, {17, 40, 2, 8}};
    for (int cell = 0; cell < 3; cell++)
        for (size_t each = 0; each < sizeof(shapes) / sizeof(*shapes); each++) {
            Shape shape = {shapes[each][0], shapes[each][1], shapes[each][2], shapes[each][3], 0, 0};
            const int64_t hidden = shape.hidden_size, rows = GATES[cell] * hidden, length = shape.batch_size * shape.steps;
            const int64_t numbers = rows * (shape.input_size + hidden + 2), biases = rows * (shape.input_size + hidden);
            double *x = malloc(length * shape.input_size * 8), *w = malloc(numbers * 8), *g = malloc(length * hidden * 8);
            double *states[4], *sums[2], *unused = malloc(4 * hidden * 8);
            for (int i = 0; i < 4; i++) states[i] = malloc(length * hidden * 8);
            for (int i = 0; i < 2; i++) sums[i] = malloc(4 * hidden * 8);
            for (int64_t i = 0; i < length * shape.input_size; i++) x[i] = uniform();
            for (int64_t i = 0; i < numbers; i++) w[i] = uniform();
            for (int64_t i = 0; i < length * hidden; i++) g[i] = uniform();
            run_f64(cell, &shape, x, w, g, states[0], sums[0]);
            run_f32(cell, &shape, x, w, g, states[1], sums[1]);
            plain(cell, &shape, x, w, states[2]);
            for (int64_t i = 0; i < length * hidden; i++) {
                check("a state in float64", cell, &shape, states[0][i], states[2][i], 1e-12);
                check("a state in float32", cell, &shape, states[1][i], states[0][i], 1e-5);
            }
            for (int64_t row = 0; row < rows; row++) { /* of b_hh */
                const int64_t at = biases + rows + row;
                const double step = 1e-6, own = w[at];
                double change = 0;
                for (int sign = -1; sign <= 1; sign += 2) {
                    w[at] = own + sign * step;
                    plain(cell, &shape, x, w, states[3]);
                    for (int64_t i = 0; i < length * hidden; i++) change += sign * g[i] * states[3][i];
                }
                w[at] = own;
                check("a gradient in float64", cell, &shape, sums[0][row], change / (2 * step), 1e-7);
                check("a gradient in float32", cell, &shape, sums[1][row], sums[0][row], 1e-4);
            }
            free(x), free(w), free(g), free(unused);
            for (int i = 0; i < 4; i++) free(states[i]);
            for (int i = 0; i < 2; i++) free(sums[i]);
        }
    return 0;
}
