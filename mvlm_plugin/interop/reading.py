"""Reads foreign weights from files that need not be trusted: none of their code runs, no path leads out of a folder."""

import hashlib
import json
import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

# What a Hugging Face folder may hold its weights in, the first that is there counts.
FOLDER_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# Under which names training programs put a state dict into a file.
WRAPPERS = ("model", "state_dict")
# What wrappers of modules put before every key.
WRAPPER_PREFIXES = ("module.", "_orig_mod.")
# What torch says of a pickle that asks for a function or class which is not known to be harmless.
REFUSALS = ("Unsupported global", "Unsupported class", "Trying to ")
MAX_JSON_BYTES = 64 * 2**20
_UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


class WeightsError(ValueError):
    """Weights that cannot be read or do not fit; the message says which and what to do."""


class WeightFiles(NamedTuple):
    """What was read.

    tensors: by foreign name, float32 where they were floating point of any size.
    files: the files that the tensors come from, in order of their names.
    content: what else the file held beside the tensors, such as the arguments of fairseq; empty for safetensors.
    """

    tensors: dict[str, Tensor]
    files: list[Path]
    content: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """Where a configuration and a vocabulary may lie beside the weights."""
        return self.files[0].parent


def read_weights(path: Path) -> WeightFiles:
    """Read all tensors of a file (.pth, .pt, .bin, .safetensors) or of a Hugging Face folder, sharded or not.

    Raises:
        WeightsError: missing, damaged, or a file that would run code.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise WeightsError(f"{path} does not exist")
    content = _read_file(path)
    return WeightFiles(_tensors(content, path), [path], content)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of at most 64 MiB.

    Raises:
        WeightsError: missing, larger, damaged, or something else than an object.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
        if len(data) > MAX_JSON_BYTES:
            raise ValueError(f"it has more than {MAX_JSON_BYTES >> 20} MiB")
        content = json.loads(data)
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read: {error}; download it again") from error
    return content


def sha256(files: list[Path]) -> str:
    """SHA-256 of the bytes of all files, one after the other; for one file what ``sha256sum`` prints."""
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def _read_folder(folder: Path) -> WeightFiles:
    found = next((folder / name for name in FOLDER_FILES if (folder / name).is_file()), None)
    if found is None:
        raise WeightsError(f"{folder} holds none of {', '.join(FOLDER_FILES)}; name the file with the weights")
    if found.suffix != ".json":
        return read_weights(found)
    tensors: dict[str, Tensor] = {}
    files = _shards(found)
    for file in files:
        shard = _tensors(_read_file(file), file)
        doubled = sorted(tensors.keys() & shard.keys())
        if doubled:
            raise WeightsError(f"{file} holds tensors that another file holds too: {', '.join(doubled)}")
        tensors.update(shard)
    missing = sorted(read_json(found)["weight_map"].keys() - tensors.keys())
    if missing:
        raise WeightsError(f"{found} lists tensors that no file holds: {', '.join(missing)}; download the folder again")
    return WeightFiles(tensors, files, {})


def _shards(index: Path) -> list[Path]:
    """The files that an index names; they must lie beside it."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise WeightsError(f"{index} has no weight_map; download it again")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if name != Path(name).name or name in ("", ".", ".."):
            raise WeightsError(f"{index} names {name!r}, which is no file beside it: this index cannot be trusted")
    present = set(os.listdir(index.parent))
    missing = [name[:80] for name in names if name not in present or not (index.parent / name).is_file()]
    if missing:
        raise WeightsError(f"{index.parent} lacks files that {index.name} names: {', '.join(missing)}; download them")
    return [index.parent / name for name in names]


def would_run_code(error: Exception) -> bool:
    """Whether torch.load() refused a file because it asks for a function or class that is not listed."""
    return isinstance(error, pickle.UnpicklingError) and any(mark in str(error) for mark in REFUSALS)


@contextmanager
def no_code_of(path: str | Path) -> Iterator[None]:
    """Around torch.load() of a file: no code of it runs, whatever the environment asks of torch.

    Raises:
        WeightsError: the file would run code, or is damaged; one line in place of all that torch says.
        OSError: it cannot be opened.
    """
    # Older programs need this variable; it would turn weights_only off where a caller, as fairseq, does not name it.
    asked = os.environ.pop(_UNSAFE, None)
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except pickle.UnpicklingError as error:
        if not would_run_code(error):
            raise _damaged(path, error) from None
        raise WeightsError(
            f"{path} would run code when it is loaded and is refused; where you trust it, load it with "
            f"torch.load(weights_only=False) and save its state_dict alone ({_one_line(error)})"
        ) from None
    except Exception as error:  # damaged pickles and headers raise nearly everything
        raise _damaged(path, error) from None
    finally:
        if asked is not None:
            os.environ[_UNSAFE] = asked


def _read_file(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".npz":
        raise WeightsError(f"{path} is a NumPy archive; load it with timm and save the model's state_dict() instead")
    with no_code_of(path):
        with open(path, "rb") as file:
            head = file.read(9)
        if head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__} and no weights by name")
    return content


def _damaged(path: str | Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"{path} is damaged, or no file of torch.save or safetensors; download it again ({_one_line(error)})"
    )


def _one_line(error: Exception) -> str:
    """What an error says, in one line that fits a terminal."""
    text = " ".join(str(error).split())
    start = max(0, *(text.find(mark) for mark in REFUSALS))
    return f"{type(error).__name__}: {text[start : start + 120]}"


def _tensors(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The state dict in what a file holds, under whatever names training programs put it."""
    state = content
    for _ in WRAPPERS:
        state = next((state[name] for name in WRAPPERS if isinstance(state.get(name), Mapping)), state)
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path} holds no tensors; its first entries: {', '.join(map(str, list(state)[:5]))}")
    for prefix in WRAPPER_PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    for name, value in tensors.items():
        if value.layout != torch.strided or value.is_quantized:
            raise WeightsError(f"{path}: {name} is sparse or quantised; only plain tensors can be loaded")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise WeightsError(f"{path}: {name} claims more values than the file holds")
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
