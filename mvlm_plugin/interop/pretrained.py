"""Pre-trained weights into a new model: what --image-encoder-weights, --text-encoder-weights and their kin do."""

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ..data.databin import DataBinError
from ..encoders.roberta import RobertaEncoder
from ..encoders.vit import VisionTransformer
from ..models.config import PACKAGED, MvlmConfig
from ..modules.blocks import EncoderBlock
from ..modules.pixels import DEVIATION, MEAN
from .fitting import Fitted, fit, load, names_in_full, size_of
from .formats import HUGGING_FACE_BERT, IMAGE_FORMATS, TEXT_FORMATS, WeightFormat, mlm_head, recognise
from .fusion import start_fusion
from .norm_eps import set_norm_eps
from .positions import resize_image_positions
from .reading import WeightFiles, WeightsError, read_weights, sha256
from .renaming import sort_keys
from .roberta import upgrade_fairseq_names
from .settings import Settings, differences, read_settings
from .symbols import AlignedRows, align, find_vocabulary
from .vit import fold_normalization
from .vocabulary import shown

logger = logging.getLogger(__name__)

# What a model has beyond any source of its kind.
NEW_PARAMETERS = ("mask_token",)
GPT2_FIX = "prepare the data with mvlm-prep --tokenizer gpt2-bpe and the dict.txt that the source was trained with"
BERT_FIX = "prepare the data with mvlm-prep --tokenizer wordpiece --vocab-txt and the source's vocab.txt"

Record = dict[str, str | int]


def load_pretrained(model: Any, cfg: MvlmConfig, dictionary: Any, tokenizer_folder: Path) -> dict[str, Record]:
    """Load what the config's options name into a new model.

    Args:
        model: an MvlmModel with initial weights.
        cfg: its config.
        dictionary: fairseq's, of the captions, the mask symbol included.
        tokenizer_folder: the data-bin that the dictionary is from.

    Returns:
        A record of each source ("image_encoder", "text_encoder"): format, file (its name without folders), sha256 and
        number of tensors loaded. Plain values, for the checkpoint.

    Raises:
        WeightsError: files that are missing, damaged or of an unknown format, or weights that do not match.
    """
    records = {}
    if cfg.image_encoder_weights:
        with _naming("--image-encoder-weights", cfg.image_encoder_weights, model.image_encoder) as path:
            records["image_encoder"] = _load_image_encoder(model.image_encoder, cfg, path)
    if cfg.text_encoder_weights:
        with _naming("--text-encoder-weights", cfg.text_encoder_weights, model.text_encoder) as path:
            records["text_encoder"] = _load_text_encoder(model, cfg, path, list(dictionary.symbols), tokenizer_folder)
    if cfg.fusion_from_text_encoder:
        if not cfg.text_encoder_weights:
            raise WeightsError("--fusion-from-text-encoder needs --text-encoder-weights")
        started = start_fusion(model.fusion, model.text_encoder)
        logger.info(
            "cross-modality blocks start from the last blocks of the text encoder: %s; new are cross-attention and its "
            "norm", " and ".join(started),
        )  # fmt: skip
    return records


@contextmanager
def _naming(option: str, value: str, encoder: nn.Module) -> Iterator[Path]:
    """The path that an option names; errors on the way name the option and the path."""
    try:
        path = _packaged(encoder) if value == PACKAGED else Path(value)
        if not path.exists():
            raise WeightsError(
                "no such file or folder (nothing is downloaded); a run that resumes from its checkpoint does not need "
                f"it: leave {option} away"
            )
        yield path
    except (DataBinError, ImportError, IndexError, OSError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{option} {value}: {error}") from error


def _packaged(encoder: nn.Module) -> Path:
    """Weights that an encoder's Python package carries."""
    if not hasattr(encoder, "packaged_weights"):
        raise WeightsError("no package carries weights of this encoder; name a file")
    return cast(Any, encoder).packaged_weights()


class _Converted(NamedTuple):
    """Weights with our names, and what there is to say about them."""

    source: WeightFiles
    format: WeightFormat
    settings: Settings
    tensors: dict[str, Tensor]
    problems: list[str]


def _convert(
    source: WeightFiles, formats: tuple[WeightFormat, ...], encoder: VisionTransformer | RobertaEncoder
) -> _Converted:
    known = recognise(source.tensors, formats)
    keys = sort_keys(source.tensors, known.table)
    tensors = known.convert({key: source.tensors[key] for key in keys.known})
    settings = read_settings(source)
    problems = [f"unexpected: {key} {tuple(source.tensors[key].shape)}" for key in keys.unknown]
    if keys.ignored:
        logger.info("%s: heads and the like are left behind: %s", known.name, names_in_full(keys.ignored))
    eps = settings.eps or known.eps
    if eps != cast(EncoderBlock, encoder.blocks[0]).self_norm.eps:
        set_norm_eps(encoder, eps)
        logger.info("%s: the norms' eps is set to the source's, %g", known.name, eps)
    return _Converted(source, known, settings, tensors, [*problems, *differences(settings, encoder)])


def _finish(fitted: Fitted, module: nn.Module, part: str, source: WeightFiles, path: Path, form: str) -> Record:
    """Log what was loaded, and make the record of it."""
    for problem in fitted.problems:
        logger.warning("%s: mismatch allowed: %s", part, problem)
    if fitted.new:
        logger.info("%s: new, not in the weights: %s", part, names_in_full(fitted.new))
    record: Record = {
        "format": form, "file": path.absolute().name, "sha256": sha256(source.files), "tensors": len(fitted.tensors),
    }  # fmt: skip
    logger.info("%s: loaded %d of %d tensors: %s", part, len(fitted.tensors), len(module.state_dict()), record)
    return record


def _load_own_names(encoder: Any, component: str, part: str, cfg: MvlmConfig, path: Path) -> Record:
    """Encoders of other kinds: their own names, or what their convert_weights() makes of a file's."""
    source = read_weights(path)
    convert = getattr(encoder, "convert_weights", None)
    tensors = source.tensors if convert is None else convert(source.tensors)
    fitted = fit(tensors, encoder, getattr(encoder, "new_parameters", NEW_PARAMETERS))
    load(fitted, encoder, component, f"{len(tensors)} tensors", cfg.allow_weight_mismatch)
    return _finish(fitted, encoder, part, source, path, getattr(encoder, "weights_format", "names of the encoder"))


def _load_image_encoder(encoder: nn.Module, cfg: MvlmConfig, path: Path) -> Record:
    component = f"--image-encoder {cfg.image_encoder}"
    if not isinstance(encoder, VisionTransformer) or hasattr(encoder, "convert_weights"):
        return _load_own_names(encoder, component, "image encoder", cfg, path)
    converted = _convert(read_weights(path), IMAGE_FORMATS, encoder)
    tensors = _normalized_alike(converted)
    positions = tensors.get("position_embedding")
    side = math.isqrt(encoder.position_embedding.size(1) - 1)
    if positions is not None and positions.size(1) != encoder.position_embedding.size(1):
        tensors["position_embedding"] = resize_image_positions(positions, (side, side))
        logger.info(
            "image encoder: positions interpolated to %d x %d patches from %d", side, side, positions.size(1) - 1
        )
    fitted = fit(tensors, encoder, NEW_PARAMETERS)
    fitted.problems.extend(converted.problems)
    load(fitted, encoder, component, size_of(tensors), cfg.allow_weight_mismatch)
    return _finish(fitted, encoder, "image encoder", converted.source, path, converted.format.name)


def _normalized_alike(converted: _Converted) -> dict[str, Tensor]:
    """The weights for images that are normalised as ours are."""
    mean, deviation = converted.settings.mean, converted.settings.deviation
    if mean is None or deviation is None:
        logger.info(
            "image encoder: nothing beside the weights says how the source's images were normalised; taken is the mean "
            "and deviation of ImageNet (DeiT, MAE); for 0.5 (AugReg, Google's ViT) put a preprocessor_config.json there"
        )
    elif (mean, deviation) != (MEAN, DEVIATION) and "patch_embedding.projection.bias" in converted.tensors:
        logger.info(
            "image encoder: pixels of mean %s and deviation %s: worked into the patch embedding", mean, deviation
        )
        return fold_normalization(converted.tensors, mean, deviation)
    return converted.tensors


def _load_text_encoder(
    model: Any, cfg: MvlmConfig, path: Path, dictionary: list[str], tokenizer_folder: Path
) -> Record:
    encoder, component = model.text_encoder, f"--text-encoder {cfg.text_encoder}"
    if not isinstance(encoder, RobertaEncoder):
        return _load_own_names(encoder, component, "text encoder", cfg, path)
    source = read_weights(path)
    source = source._replace(tensors=upgrade_fairseq_names(source.tensors))
    converted = _convert(source, TEXT_FORMATS, encoder)
    tensors, problems = converted.tensors, converted.problems
    aligned = None
    if "token_embedding.weight" in tensors:
        weight = tensors["token_embedding.weight"]
        aligned, problem = _align(converted.format, source, weight.size(0), dictionary, tokenizer_folder)
        problems.extend(problem)
        if weight.size(1) == encoder.width:
            tensors["token_embedding.weight"] = aligned.apply(weight, encoder.token_embedding.weight)
    positions, wanted = tensors["position_embedding"], encoder.position_embedding
    if positions.size(1) < wanted.size(1) and positions.size(2) == wanted.size(2):
        problems.append(f"missing: positions from {positions.size(1)} on; set --max-text-tokens {positions.size(1)}")
        positions = torch.cat([positions, wanted.detach()[:, positions.size(1) :]], dim=1)
    tensors["position_embedding"] = positions[:, : wanted.size(1)]
    fitted = fit(tensors, encoder)
    fitted.problems.extend(problems)
    load(fitted, encoder, component, size_of(tensors), cfg.allow_weight_mismatch)
    record = _finish(fitted, encoder, "text encoder", source, path, converted.format.name)
    if aligned is not None and hasattr(model, "mlm_head"):
        _load_mlm_head(model.mlm_head, mlm_head(source.tensors, converted.format), aligned)
    return record


def _align(
    known: WeightFormat, source: WeightFiles, rows: int, dictionary: list[str], tokenizer_folder: Path
) -> tuple[AlignedRows, list[str]]:
    """Where the token embedding's rows come from, and the problems with that."""
    count, fix = len(dictionary), BERT_FIX if known is HUGGING_FACE_BERT else GPT2_FIX
    vocabulary = find_vocabulary(source.folder, known, tokenizer_folder)
    if vocabulary is not None:
        aligned = align(vocabulary, dictionary, rows)
        logger.info("text encoder: token embedding by the symbols of %s", vocabulary.path.name)
        if not aligned.missing:
            return aligned, []
        missing = f"{len(aligned.missing)} of the data's {count} symbols"
        return aligned, [f"missing: {missing} in {vocabulary.path}: {shown(aligned.missing)}; {fix}"]
    none = AlignedRows(torch.full((count,), -1), dictionary)
    if known is HUGGING_FACE_BERT:
        return none, [
            f"missing: the source's vocab.txt in {source.folder}; put it there, or the order of rows is unknown"
        ]
    if rows != count:
        return none, [f"different: {rows} tokens in the source, {count} symbols in the data's dictionary; {fix}"]
    logger.info("text encoder: no vocabulary beside the weights; its %d tokens are taken to be those of the data", rows)
    return AlignedRows(torch.arange(count), []), []


def _load_mlm_head(head: nn.Module, theirs: Mapping[str, Tensor], aligned: AlignedRows) -> None:
    """The head for masked words as far as it is there and its shapes fit; the rest stays new."""
    tensors = dict(theirs)
    own = head.state_dict()
    if "bias" in tensors and tensors["bias"].dim() == 1 and tensors["bias"].size(0) > int(aligned.rows.max()):
        tensors["bias"] = aligned.apply(tensors["bias"], own["bias"])
    fitting = fit(tensors, head).tensors
    head.load_state_dict(fitting, strict=False)
    logger.info(
        "head for masked words: from the source: %s; new: %s",
        names_in_full(list(fitting)) or "nothing", names_in_full(sorted(own.keys() - fitting.keys())) or "nothing",
    )  # fmt: skip
