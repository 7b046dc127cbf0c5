"""Turn a trained folder into what is shipped: a float16 Hugging Face folder and a float16 GGUF file."""

import argparse
import json
import shutil
from pathlib import Path

import gguf
import numpy
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from pocket.template import CHAT_TEMPLATE
from pocket.text import END_OF_TEXT, TURN_END, settings

_HERE = Path(__file__).parent
_SHIPPED = _HERE.parent / "src" / "trunkcall" / "pocket" / "pocket.gguf"
_LAYER_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def half_folder(trained: Path, target: Path) -> None:
    """The same folder with float16 weights, which both engines then round alike."""
    target.mkdir(parents=True, exist_ok=True)
    for name in ("generation_config.json", "tokenizer.json"):
        shutil.copyfile(trained / name, target / name)
    config = json.loads((trained / "config.json").read_text())
    # transformers 4 and the servers built on it look for the older names.
    older = {"rope_theta": config["rope_parameters"]["rope_theta"], "torch_dtype": "float16"}
    (target / "config.json").write_text(json.dumps(config | {"dtype": "float16"} | older, indent=2) + "\n")
    (target / "tokenizer_config.json").write_text(
        json.dumps(settings(config["max_position_embeddings"]), indent=2) + "\n"
    )
    weights = load_file(trained / "model.safetensors")
    save_file(
        {name: value.astype(numpy.float16) for name, value in weights.items()},
        target / "model.safetensors",
        metadata={"format": "pt"},
    )
    (target / "model.safetensors").chmod(0o644)


def _gguf_name(name: str) -> str:
    if name in ("model.embed_tokens.weight", "model.norm.weight"):
        return {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}[name]
    _, _, layer, part = name.split(".", 3)
    return f"blk.{layer}.{_LAYER_NAMES[part.removesuffix('.weight')]}.weight"


def _interleave(weight: NDArray[numpy.float16], heads: int) -> NDArray[numpy.float16]:
    """llama.cpp rotates neighbouring rows of a head, transformers the two halves of a head."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_gguf(folder: Path, target: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    target.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(str(target), "llama")
    heads = config["num_attention_heads"]
    writer.add_name("Pocket")
    writer.add_description("The small demonstration model that ships with Trunkcall.")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    added = {entry["id"]: entry for entry in tokenizer["added_tokens"]}
    ids: dict[str, int] = tokenizer["model"]["vocab"] | {entry["content"]: number for number, entry in added.items()}
    vocabulary = sorted(ids.items(), key=lambda item: item[1])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([text for text, _ in vocabulary])
    writer.add_token_types(
        [
            gguf.TokenType.NORMAL
            if number not in added
            else gguf.TokenType.CONTROL
            if added[number]["special"]
            else gguf.TokenType.USER_DEFINED
            for _, number in vocabulary
        ]
    )
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    )
    writer.add_eos_token_id(ids[TURN_END])
    writer.add_pad_token_id(ids[END_OF_TEXT])
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    for name, weight in load_file(folder / "model.safetensors").items():
        if name == "lm_head.weight":
            continue
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            weight = _interleave(weight, heads)
        # llama.cpp wants the one-dimensional norms in float32.
        writer.add_tensor(_gguf_name(name), weight.astype(numpy.float32) if weight.ndim == 1 else weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trained", type=Path)
    parser.add_argument("--hf", type=Path, default=_HERE / "hf")
    parser.add_argument("--gguf", type=Path, default=_SHIPPED)
    chosen = parser.parse_args()
    half_folder(chosen.trained, chosen.hf)
    write_gguf(chosen.hf, chosen.gguf)
    for path in (chosen.gguf, *sorted(chosen.hf.iterdir())):
        print(f"{path.name} {path.stat().st_size} bytes")
