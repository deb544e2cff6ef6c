"""`python -m harness.timing`.

A request as JSON on standard input, the answer as JSON on standard output.

Bad input ends with exit code 2 and one line on standard error, before anything is timed. What a
plug-in prints goes to standard error. `--memory` and `--worker VARIANT` are how the command starts
itself, to measure the memory of one benchmark and to run the steps of one variant.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from contextlib import redirect_stdout

from harness.errors import HarnessError, InputError, Shown
from harness.plugins import load_plugins
from harness.timing.benchmark_request import TimingRequest
from harness.timing.inference import measure_inference
from harness.timing.inference_request import InferenceRequest
from harness.timing.throughput import measure_memory, measure_throughput
from harness.timing.variant_worker import apply_variant, serve_variant
from harness.timing.variants import FIXED, parse_variant

USAGE = "usage: python -m harness.timing < request.json > answer.json"


def main(arguments: list[str]) -> int:
    """Read a request, time it, write the answer; returns the exit code."""
    if arguments[:1] == ["--worker"] and len(arguments) == 2:
        serve_variant(parse_variant(arguments[1]), sys.stdin, sys.stdout)
        return 0
    if arguments not in ([], ["--memory"]):
        print(USAGE, file=sys.stderr)
        return 0 if arguments == ["--help"] else 2
    try:
        with redirect_stdout(sys.stderr):
            if arguments:
                apply_variant(FIXED["tuned"])
            request = read_request(_standard_input())
            if isinstance(request, InferenceRequest):
                answer = measure_inference(request).to_json()
            elif arguments:
                answer = dataclasses.asdict(measure_memory(request))
            else:
                answer = measure_throughput(request).to_json()
    except HarnessError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    json.dump(answer, sys.stdout, allow_nan=False)
    return 0


def _standard_input() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise InputError("request", expected="JSON", got=Shown("bytes that are no text")) from None


def read_request(text: str) -> TimingRequest | InferenceRequest:
    """Parse the request, whose `mode` may be "inference", and load its plug-ins.

    Raises InputError for what can't be used.
    """
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of endless digits
        raise InputError("request", expected="JSON", got=text[:40], remedy=str(error)) from None
    plugins = plain.get("plugins", []) if isinstance(plain, dict) else []
    if not isinstance(plugins, list) or not all(isinstance(name, str) for name in plugins):
        raise InputError("request", "plugins", expected="a list of names", got=plugins)
    load_plugins(plugins)  # before the names of cells and tasks are looked up
    if isinstance(plain, dict) and "mode" in plain:
        return InferenceRequest.from_dict(plain)
    return TimingRequest.from_dict(plain)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
