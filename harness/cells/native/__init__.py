"""RNN, GRU and LSTM layers in C, forward and backward, for training on a CPU.

recurrent.c, vector.h  the kernels, compiled for each instruction set and precision
dispatch.c             which instruction sets this processor has
build.py               compiles them into one library
library.py             finds and loads the library
layers.py              stacks of layers with gradients, on tensors
faster_shapes.py       where they were measured to be faster than torch's modules
recurrence.py          puts them in place of torch's modules there
"""
