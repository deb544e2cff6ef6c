"""One trial: the model (a cell and a linear head), one optimiser step, the training loop.

model.py             cell + head = model, from plain values and a seed
optimizer_step.py    one optimiser update, and the optimisers
flat_parameters.py   the same update on a CPU, over one vector of parameters
captured_step.py     the same update on a CUDA device as a CUDA graph
training_batches.py  a trial's batches, drawn several at a time
training_loop.py     train one configuration and evaluate it on a schedule
"""
