"""Readers of folders and files that training and use open, as fuzz targets: one file is hostile, all others sound."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# Reads the content of a form, the errors that it documents, the number of forms, sound inputs.
Target = tuple[Callable[[int, bytes], None], tuple[type[Exception], ...], int, list[bytes]]

_MOST_READ = 50  # entries of a table
_MOST_SEED = 1 << 18  # bytes


def _one_hostile(files: list[Path], read: Callable[[int], object], errors: tuple[type[Exception], ...]) -> Target:
    """Form n: file n has the content of the input, and all others their own."""
    sound = [path.read_bytes() for path in files]

    def run(form: int, data: bytes) -> None:
        files[form].write_bytes(data)
        try:
            read(form)
        finally:
            files[form].write_bytes(sound[form])

    seeds = [bytes([form]) + content[:_MOST_SEED] for form, content in enumerate(sound)]
    return run, errors, len(files), seeds


def databin(folder: Path) -> Target:
    """Every file of a data-bin, opened and read to its end; a manifest also as one of shards."""
    from mvlm_plugin.data.databin import DataBinError, shard_folders
    from mvlm_plugin.data.image_index import ImageReadError
    from mvlm_plugin.data.images import BadImageError, decode_image
    from mvlm_plugin.data.store import PairStore
    from tests.helpers import write_databin

    databin = write_databin(folder / "databin", images=3, splits=["train"])
    files = sorted(path for path in databin.iterdir() if path.name != "dict.txt")

    def read(form: int) -> None:
        store = PairStore(shard_folders(databin)[0], "train")
        for caption in range(min(len(store), _MOST_READ)):
            try:
                store.tokens(caption, 0, 16)
                store.fields(caption)
                images = store.images_of(caption)
                decode_image(store.images.read(images[0]))
                store.names[images[0]]
            except (DataBinError, ImageReadError, BadImageError):
                pass  # of this entry alone

    return _one_hostile(files, read, (DataBinError, ImageReadError))


def tokenizer(folder: Path) -> Target:
    """The files of each kind of tokenizer, with its dictionary as training and as preparation read it."""
    from mvlm_plugin.data.databin import DataBinError
    from mvlm_plugin.data.dictionary import TokenIds
    from mvlm_plugin.data.tokenizers import TOKENIZER_FILES, load_tokenizer
    from tests.tokenizer_folders import write_gpt2, write_sentencepiece, write_wordpiece

    files: list[Path] = []
    for kind, write in (
        ("sentencepiece", write_sentencepiece),
        ("gpt2_bpe", write_gpt2),
        ("wordpiece", write_wordpiece),
    ):
        place = folder / kind
        place.mkdir()
        write(place)
        files += [place / name for name in (*TOKENIZER_FILES[kind], "dict.txt", "manifest.json")]

    def read(form: int) -> None:
        place = files[form].parent
        tokenizer = load_tokenizer(place)
        tokenizer.decode(tokenizer.encode("a red Circle, \u00e9\u4e16 <mask>"))
        TokenIds(place / "dict.txt")

    return _one_hostile(files, read, (DataBinError,))


def _models(folder: Path) -> Any:
    from tests.interface.conftest import tiny_model
    from tests.tokenizer_folders import write_sentencepiece

    data = folder / "data"
    data.mkdir()
    write_sentencepiece(data)
    return tiny_model(data), data


def checkpoint(folder: Path) -> Target:
    """Bytes as a checkpoint: for use, for an evaluation, and its record alone."""
    import mvlm_plugin
    from mvlm_plugin.checkpoints import open_checkpoint
    from mvlm_plugin.data.databin import DataBinError
    from mvlm_plugin.evaluate.protocol import protocol_of

    model, data = _models(folder)
    task = SimpleNamespace(cfg=SimpleNamespace(data=str(data)))
    path = folder / "c.pt"
    readers: list[Callable[[], object]] = [
        lambda: mvlm_plugin.load(path, str(data), "cpu"),
        lambda: open_checkpoint(str(path), str(data)),
        lambda: protocol_of(str(path), task, model),
    ]

    def read(form: int, content: bytes) -> None:
        path.write_bytes(content)
        readers[form]()

    return read, (ValueError, DataBinError, OSError, ImportError), len(readers), []


def checkpoint_config(folder: Path) -> Target:
    """JSON as what a checkpoint holds beside its weights."""
    import torch

    import mvlm_plugin
    from mvlm_plugin.checkpoints import open_checkpoint
    from mvlm_plugin.data.databin import DataBinError

    model, data = _models(folder)
    path = folder / "c.pt"
    state = model.state_dict()
    readers: list[Callable[[], object]] = [
        lambda: mvlm_plugin.load(path, str(data), "cpu"),
        lambda: open_checkpoint(str(path), str(data)),
    ]

    def read(form: int, content: bytes) -> None:
        try:
            entries = json.loads(content)
        except (ValueError, RecursionError):
            return
        if isinstance(entries, dict):
            torch.save({**entries, "model": state}, path)
            readers[form]()

    return read, (ValueError, DataBinError, OSError, ImportError), len(readers), []


def export(folder: Path) -> Target:
    """Every file of a folder of mvlm-export; of the weights the start, where their header is."""
    import mvlm_plugin
    from mvlm_plugin.data.databin import DataBinError
    from mvlm_plugin.export import export as write
    from tests.interface.conftest import save_checkpoint

    model, data = _models(folder)
    write(save_checkpoint(folder / "c.pt", data, model), folder / "export")
    files = sorted((folder / "export").iterdir())
    errors = (ValueError, DataBinError, OSError, ImportError)
    return _one_hostile(files, lambda form: mvlm_plugin.load(folder / "export", device="cpu"), errors)


def weights(folder: Path) -> Target:
    """Foreign weights: a single file, and the index of a folder of several."""
    import torch
    from safetensors.torch import save_file

    from mvlm_plugin.interop.reading import WeightsError, read_weights

    place = folder / "weights"
    place.mkdir()
    save_file({"a": torch.ones(2)}, place / "one.safetensors")
    (place / "model.safetensors.index.json").write_text('{"weight_map": {"a": "one.safetensors"}}')
    files = [place / "model.safetensors.index.json", place / "one.safetensors"]
    return _one_hostile(files, lambda form: read_weights(place if form == 0 else files[1]), (WeightsError,))
