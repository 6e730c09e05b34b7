"""The tiny student of smoke runs: a tokenizer trained on the textbook and a GPT-2 that knows nothing."""

import itertools
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mqg_utils.records import write_json

UNTRAINED = "untrained.json"  # in place of weights: the seed and the shape to initialise them from


def quiet_transformers() -> Any:
    """transformers without its progress bars and warnings, and without converted weights that its bot offers."""
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    return transformers


def train_tokenizer(
    texts: Iterable[str], folder: Path, seed: int = 0, vocab_size: int = 2048, width: int = 192, layers: int = 4
) -> Any:
    """Train a byte-level BPE on `texts` and save it, without torch, as a student whose weights `seed` initialises."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers.models import BPE

    bpe = Tokenizer(BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet, end = pre_tokenizers.ByteLevel.alphabet(), "<|endoftext|>"
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=[end], initial_alphabet=alphabet)
    labels = [" True False Vrai Faux"] * 100  # each must be one token, whatever the book is about
    bpe.train_from_iterator(itertools.chain(texts, labels), trainer)
    tokenizer = quiet_transformers().PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=end, pad_token=end)
    tokenizer.save_pretrained(str(folder))
    write_json(folder / UNTRAINED, {"seed": seed, "width": width, "layers": layers})
    return tokenizer


def first_weights(folder: Path, tokenizer: Any) -> Any:
    """The GPT-2 of `train_tokenizer` as it is before any training."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = json.loads((folder / UNTRAINED).read_text(encoding="utf-8"))
    config = GPT2Config(
        vocab_size=len(tokenizer), bos_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id,
        n_positions=1024, n_embd=shape["width"], n_layer=shape["layers"], n_head=shape["width"] // 64,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,  # dropout in attention would also rule out the fast kernels
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(shape["seed"])
        return GPT2LMHeadModel(config)
