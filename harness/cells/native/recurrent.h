/* Layers of an RNN, a GRU and an LSTM, forward and backward: the functions of the library.

   All arrays of states are kept by number: row j holds number j of the state at every step, as
   (step, sequence) side by side. A row has `stride` numbers, a step `columns` of them: batch_size
   rounded up to whole vectors. The columns beyond batch_size repeat the last sequence; gradients
   are 0 there. Arrays of states hold one step more than others: the first is that before any input.

   Source of the mathematics: torch's documentation of nn.RNN, nn.GRU and nn.LSTM. */

#ifndef HARNESS_RECURRENT_H
#define HARNESS_RECURRENT_H

#include <stdint.h>

typedef struct {
    int64_t input_size, hidden_size, steps, batch_size, columns, stride;
} Shape;

#define PASTE(a, b, c, d) a##b##_##c##_##d
#define NAMED(name, dtype, level) PASTE(harness_, name, dtype, level)
#define EXPORT(name) __attribute__((visibility("default"))) NAMED(name, DTYPE, LEVEL)

#endif
