"""Why a cell forgets, measured on a model as it is. Never trains, never draws.

gradients.py                how much of a gradient survives k steps back
closed_form_derivatives.py  torch's cells as steps with their derivatives
gates.py                    what the gates do on a sequence, and how long a unit remembers
float64_copy.py             a copy of a cell in float64, to measure on
"""

from harness.diagnostics.closed_form_derivatives import run_stack
from harness.diagnostics.gates import Gates, GateTrace, TimeScales, read_gates
from harness.diagnostics.gradients import GradientGain, affordable, chosen_lags, gradient_gain

__all__ = [
    "GateTrace",
    "Gates",
    "GradientGain",
    "TimeScales",
    "affordable",
    "chosen_lags",
    "gradient_gain",
    "read_gates",
    "run_stack",
]
