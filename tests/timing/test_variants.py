"""harness.timing.variants: names, counts, and what can't be had here."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.timing import variants
from harness.timing.variants import FIXED, parse_variant, precision_on, unavailable


def test_names_mean_what_they_say() -> None:
    """plain sets nothing, tuned is one flushed thread, and a count changes that one thing."""
    plain, tuned = parse_variant("plain"), parse_variant("tuned")
    assert (plain.n_threads, plain.flush_denormals, plain.fused_optimizer) == (None, False, False)
    assert (tuned.n_threads, tuned.flush_denormals, tuned.fused_optimizer) == (1, True, True)
    assert parse_variant("threads=4").n_threads == 4
    assert parse_variant("processes=3").n_processes == 3
    assert parse_variant("processes=03").name == "processes=3"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tund", "did you mean 'tuned'"),
        ("thread=2", "did you mean 'threads=2'"),
        ("threads", "threads=N with N from 1 to 1024"),
        ("threads=0", "threads=N with N from 1 to 1024"),
        ("processes=-1", "processes=N with N from 1 to 1024"),
        ("processes=99999999999999999999", "processes=N with N"),
        ("", "expected a variant"),
    ],
)
def test_an_unknown_variant_is_named(name: str, says: str) -> None:
    """What is no variant is refused with the nearest, and no count is believed unseen."""
    with pytest.raises(InputError) as caught:
        parse_variant(name)
    assert says in str(caught.value)


@given(st.text(max_size=20))
def test_any_name_is_a_variant_or_refused(name: str) -> None:
    """No text makes anything but a variant or one clear error."""
    try:
        assert parse_variant(name).n_processes >= 1
    except InputError:
        assert name not in FIXED


def test_what_needs_a_card_says_so() -> None:
    """On a CPU the CUDA variants are named with the reason, the others are there."""
    for name in ("tf32", "float16", "cuda_graph"):
        assert unavailable(name, "cpu") == "needs a CUDA device"
    for name in (
        "plain",
        "tuned",
        "denormals_kept",
        "memory_returned",
        "threads=2",
        "processes=2",
        "bfloat16",
    ):
        assert unavailable(name, "cpu") == ""
    assert unavailable("native", "cuda:0") == "runs on a CPU"


def test_without_a_library_there_are_no_native_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is that of `python -m harness --version`."""
    monkeypatch.setenv("HARNESS_NATIVE", "0")
    assert unavailable("native", "cpu") == "HARNESS_NATIVE=0"


def test_without_a_compiler_there_is_no_compiled_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no C++ compiler is found, the reason says that."""
    monkeypatch.setattr(variants.shutil, "which", lambda _name: None)  # type: ignore[attr-defined]
    variants._without_compiler.cache_clear()
    assert "C++ compiler" in unavailable("compiled", "cpu")
    variants._without_compiler.cache_clear()


def test_without_glibc_all_memory_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """There a variant that returns it would be the tuned one by another name."""
    monkeypatch.setattr(variants, "keeps_memory", lambda: False)
    assert "glibc" in unavailable("memory_returned", "cpu")
    assert unavailable("tuned", "cpu") == ""


def test_an_old_card_has_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Ampere a card has neither bfloat16 nor TF32 products; float16 it has."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (7, 0))
    assert unavailable("bfloat16", "cuda:0") == "the card has no bfloat16 products"
    assert unavailable("tf32", "cuda:0") == "the card has no tf32 products"
    assert unavailable("float16", "cuda:0") == ""


def test_plain_has_the_precision_of_torch() -> None:
    """On a card cuDNN's recurrent layers use TF32 unasked.

    On a processor, and where it is turned off, nothing does.
    """
    plain, tuned = parse_variant("plain"), parse_variant("tuned")
    assert torch.backends.cudnn.rnn.fp32_precision != "ieee"  # type: ignore[attr-defined]
    assert precision_on(plain, "cuda:0") == "tf32"
    assert precision_on(plain, "cpu") == precision_on(tuned, "cuda:0") == "float32"
