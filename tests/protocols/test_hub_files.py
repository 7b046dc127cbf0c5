"""Which files of a repository are taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.core.errors import ServingError
from trunkcall.protocols.fetching import Kind, amount
from trunkcall.protocols.hub_files import File, choose_file, needed, part_names, quantisation

GB = 10**9


def files(**sizes: float) -> list[File]:
    """GGUF files by quantisation, in GB."""
    return [File(f"model-{name}.gguf", int(size * GB)) for name, size in sizes.items()]


USUAL = files(Q2_K=2.8, Q4_0=4.2, Q4_K_M=4.7, Q5_K_M=5.5, Q8_0=8.1, F16=15.2)


@pytest.mark.parametrize(
    ("there", "memory", "taken"),
    [
        (USUAL, 64, "Q4_K_M"),
        (USUAL, 9.4, "Q4_K_M"),
        (USUAL, 9.3, "Q4_0"),
        (USUAL, 5.6, "Q2_K"),
        (files(Q5_K_M=5, Q8_0=8), 64, "Q5_K_M"),
        (files(Q8_0=8, Q6_K=6), 64, "Q8_0"),
        (files(Q8_0=8, Q6_K=6), 15, "Q6_K"),
        (files(Q6_K=6, Q3_K_S=3, F16=15), 64, "Q6_K"),
        (files(F16=1, F32=2), 64, "F32"),
        (files(IQ4_XS=4, BF16=15), 64, "IQ4_XS"),
        (files(q4_k_m=4), 64, "q4_k_m"),
    ],
)
def test_the_quantisation_that_fits(there: list[File], memory: float, taken: str) -> None:
    assert [one.path for one in choose_file(there, int(memory * GB), "r")] == [f"model-{taken}.gguf"]


def test_nothing_that_fits_is_refused_with_the_numbers() -> None:
    with pytest.raises(ServingError) as caught:
        choose_file(USUAL, 4 * GB, "org/m")
    for says in ("model-Q2_K.gguf", "2.8 GB", "half of this machine's memory is 2.0 GB", "hf:org/m:model-Q2_K.gguf"):
        assert says in caught.value.message


def test_a_model_in_parts_is_one() -> None:
    parts = [File(f"big/m-Q4_K_M-0000{n}-of-00003.gguf", 3 * GB) for n in (2, 1, 3)]
    small = File("m-Q2_K.gguf", 2 * GB)
    assert [one.path[-15] for one in choose_file([*parts, small], 18 * GB, "r")] == ["1", "2", "3"]
    assert choose_file([*parts, small], 17 * GB, "r") == (small,)
    # Of which one part is missing, that is no model.
    assert choose_file([*parts[:2], small], 64 * GB, "r") == (small,)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("tinyllama.Q5_0.gguf", "Q5_0"),
        ("UD/gemma-3-27b-it-UD-Q4_K_XL-00001-of-00002.gguf", "Q4_K_XL"),
        ("qwen2.5-7b-instruct-q8_0.gguf", "Q8_0"),
        ("model-IQ3_XXS.gguf", "IQ3_XXS"),
        ("model-BF16.gguf", "BF16"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("F16/model.gguf", ""),
        ("model.gguf", ""),
    ],
)
def test_quantisation(path: str, kind: Kind) -> None:
    assert quantisation(path) == kind


def names(taken: tuple[File, ...]) -> set[str]:
    return {one.path for one in taken}


def listed(*paths: str) -> list[File]:
    return [File(path, 10) for path in paths]


SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json")
CHECKPOINT = ("config.json", "tokenizer.json", "tokenizer.model", "chat_template.jinja", "code.py", *SHARDS)


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        ((*CHECKPOINT, "README.md", "logo.png", "LICENSE"), CHECKPOINT),
        ((*CHECKPOINT, "pytorch_model.bin", "flax_model.msgpack", "tf_model.h5", "model.onnx"), CHECKPOINT),
        ((*CHECKPOINT, "onnx/config.json", "original/params.json", "original/consolidated.00.pth"), CHECKPOINT),
        ((*CHECKPOINT, "consolidated.safetensors"), CHECKPOINT),
        (("config.json", "consolidated.safetensors"), ("config.json", "consolidated.safetensors")),
        (("config.json", "pytorch_model.bin", "training_args.bin"), ("config.json", "pytorch_model.bin")),
        (
            (
                "modules.json",
                "config.json",
                "1_Pooling/config.json",
                "model.safetensors",
                "openvino/openvino_model.xml",
            ),
            ("modules.json", "config.json", "1_Pooling/config.json", "model.safetensors"),
        ),
        (("adapter_config.json", "adapter_model.safetensors"), ("adapter_config.json", "adapter_model.safetensors")),
    ],
)
def test_a_folder_is_what_transformers_reads(there: tuple[str, ...], taken: tuple[str, ...]) -> None:
    found = needed(listed(*there), file="", kind="any", memory=64 * GB, repo="r")
    assert names(found) == set(taken)


@pytest.mark.parametrize(
    ("file", "kind", "taken"),
    [
        ("", "any", set(CHECKPOINT)),
        ("", "gguf", {"m-Q4_K_M.gguf"}),
        ("Q8_0", "any", {"m-Q8_0.gguf"}),
        ("q8_0", "folder", {"m-Q8_0.gguf"}),
        ("m-Q8_0.gguf", "any", {"m-Q8_0.gguf"}),
        ("mmproj-F16.gguf", "any", {"mmproj-F16.gguf"}),
        ("tokenizer.json", "any", {"tokenizer.json"}),
    ],
)
def test_what_is_asked_for_decides(file: str, kind: Kind, taken: set[str]) -> None:
    there = listed("m-Q8_0.gguf", "m-Q4_K_M.gguf", "mmproj-F16.gguf", "imatrix.gguf", *CHECKPOINT)
    assert names(needed(there, file=file, kind=kind, memory=64 * GB, repo="r")) == taken


@pytest.mark.parametrize(
    ("there", "file", "kind", "says"),
    [
        (("m-Q8_0.gguf",), "Q4_K_M", "any", "r has no .gguf file of the quantisation Q4_K_M. Known: Q8_0."),
        (("m-Q8_0.gguf",), "m-Q80.gguf", "any", "r has no file m-Q80.gguf. Did you mean 'm-Q8_0.gguf'?"),
        (("m-00001-of-00002.gguf",), "m-00001-of-00002.gguf", "any", "r has no file m-00002-of-00002.gguf"),
        (("m-Q8_0.gguf",), "", "folder", "r has only .gguf files: serve it with llama.cpp"),
        (("config.json",), "", "folder", "r has no weights"),
        (("mmproj-m.gguf",), "", "gguf", "r has no .gguf file"),
        (("m-00002-of-00002.gguf",), "", "any", "r has no .gguf model of which all parts are there"),
        (("README.md",), "", "any", "r has neither .gguf files nor a config.json with weights"),
    ],
)
def test_what_is_not_there(there: tuple[str, ...], file: str, kind: Kind, says: str) -> None:
    with pytest.raises(ServingError) as caught:
        needed(listed(*there), file=file, kind=kind, memory=64 * GB, repo="r")
    assert caught.value.message.startswith(says)
    assert caught.value.kind == "bad_request"


@given(st.lists(st.text(max_size=30), max_size=6), st.text(max_size=12), st.sampled_from(["any", "gguf", "folder"]))
def test_whatever_a_repository_holds_it_is_taken_or_refused(paths: list[str], file: str, kind: Kind) -> None:
    try:
        found = needed(listed(*dict.fromkeys(paths)), file=file, kind=kind, memory=GB, repo="r")
    except ServingError as error:
        assert error.kind == "bad_request"
    else:
        assert found and names(found) <= set(paths)


def test_part_names() -> None:
    assert part_names("m.gguf") == ("m.gguf",)
    assert part_names("a/m-00002-of-00002.safetensors") == (
        "a/m-00001-of-00002.safetensors",
        "a/m-00002-of-00002.safetensors",
    )


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (4.7e9, "4.7 GB"), (2e12, "2.0 TB")]
)
def test_amount(size: float, text: str) -> None:
    assert amount(size) == text
