"""Why a cell forgets, read off a model as it is: never trains, never draws.

gradients.py      how much of a gradient survives k steps back
closed_forms.py   torch's own cells as steps with their derivatives
gates.py          what the gates do on a sequence, and how long a unit remembers
looking.py        a cell as it is looked at: a copy of its own, in float64
"""

from harness.diagnostics.closed_form_derivatives import read_stack
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
    "read_stack",
]
