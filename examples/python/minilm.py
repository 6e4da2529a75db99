"""MiniLM, a small BERT, in plain torch: sentences in, normalised vectors out.

The model is the folder of `all-MiniLM-L6-v2`: model.safetensors and tokenizer.json.
"""

from __future__ import annotations

import pathlib

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

HEADS = 12
LAYERS = 6
EPS = 1e-12  # of the layer norms
WORD_EMBEDDING = "embeddings.word_embeddings.weight"


class MiniLM:
    """The weights are a plain dict, so that one of them can be replaced."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.weights = load_file(folder / "model.safetensors")
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(64)
        self.tokenizer.enable_padding()

    @torch.inference_mode()
    def encode(self, sentences: list[str], batch_size: int = 64) -> Tensor:
        """[sentences, 384], each of length 1."""
        parts = [sentences[i : i + batch_size] for i in range(0, len(sentences), batch_size)]
        return torch.cat([self._encode_batch(part) for part in parts])

    def _encode_batch(self, sentences: list[str]) -> Tensor:
        encodings = self.tokenizer.encode_batch(sentences)
        ids = torch.tensor([encoding.ids for encoding in encodings])
        mask = torch.tensor([encoding.attention_mask for encoding in encodings], dtype=torch.bool)
        x = self._embed(ids)
        for layer in range(LAYERS):
            x = self._layer(f"encoder.layer.{layer}.", x, mask)
        kept = mask.unsqueeze(2)
        return functional.normalize((x * kept).sum(1) / kept.sum(1))

    def _embed(self, ids: Tensor) -> Tensor:
        words = functional.embedding(ids, self.weights[WORD_EMBEDDING])
        places = self.weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        kind = self.weights["embeddings.token_type_embeddings.weight"][0]
        return self._norm("embeddings.LayerNorm", words + places + kind)

    def _layer(self, prefix: str, x: Tensor, mask: Tensor) -> Tensor:
        attended = self._attention(prefix + "attention.self.", x, mask)
        x = self._norm(
            prefix + "attention.output.LayerNorm",
            x + self._linear(prefix + "attention.output.dense", attended),
        )
        wide = functional.gelu(self._linear(prefix + "intermediate.dense", x))
        return self._norm(
            prefix + "output.LayerNorm", x + self._linear(prefix + "output.dense", wide)
        )

    def _attention(self, prefix: str, x: Tensor, mask: Tensor) -> Tensor:
        batch, length, width = x.shape

        def heads(name: str) -> Tensor:
            projected = self._linear(prefix + name, x)
            return projected.view(batch, length, HEADS, width // HEADS).transpose(1, 2)

        attended = functional.scaled_dot_product_attention(
            heads("query"), heads("key"), heads("value"), attn_mask=mask[:, None, None, :]
        )
        return attended.transpose(1, 2).reshape(batch, length, width)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, self.weights[name + ".weight"], self.weights[name + ".bias"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.weights[name + ".weight"], self.weights[name + ".bias"]
        return functional.layer_norm(x, x.shape[-1:], weight, bias, EPS)
