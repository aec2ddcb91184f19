"""``mvlm-eval zero-shot``: classify pictures by prompts, of any folder or of generated scenes."""

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from ..checkpoints import open_checkpoint
from ..data.databin import shard_folders
from ..data.image_index import ImageReadError
from ..data.images import BadImageError
from ..data.tokenizers import load_tokenizer
from ..data.transforms import Pipeline, default_eval_transform
from ..evaluation.scenes import read_scenes
from ..evaluation.zero_shot import (
    SLOT,
    Question,
    classification_figures,
    contrastive_scores,
    fill,
    matching_scores,
    scene_questions,
)
from ..interface.model import VisionLanguageModel
from ..models.mvlm import MvlmModel
from .base import EvalCommand, Report, add_data_options
from .protocol import protocol_of

logger = logging.getLogger(__name__)

_SCORES = {"itc": contrastive_scores, "itm": matching_scores}
_PROMPT = f"a photo of a {SLOT}"
_MAX_BYTES = 100 * 2**20  # of a file; larger ones are not read


class Quiz(NamedTuple):
    """What is to be classified.

    names: of the classes of each topic; questions: of each topic; read: picture number i -> (3, S, S) uint8, raises
    OSError, BadImageError or ImageReadError; pictures: how many; entries: of the protocol.
    """

    names: dict[str, list[str]]
    questions: dict[str, list[Question]]
    read: Callable[[int], Tensor]
    pictures: int
    entries: dict[str, Any]


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_data_options(parser)
    parser.add_argument(
        "--images",
        metavar="FOLDER",
        help="pictures in a sub-folder a class; then --data gives the tokenizer only. Without it the scenes of "
        "--data are asked for the colour of the only circle, the shape of the only red object, and so on",
    )
    parser.add_argument(
        "--classes",
        metavar="A,B,C",
        help="with --images: the classes to choose from, all sub-folders among them (default: the sub-folders; '_' in "
        "a name is read as a space)",
    )
    parser.add_argument(
        "--prompt",
        action="append",
        metavar="TEXT",
        help=f"with --images: text with {SLOT} for the class; given several times, the prompts of a class are taken "
        f"together (default: '{_PROMPT}')",
    )
    parser.add_argument(
        "--score",
        choices=sorted(_SCORES),
        default="itc",
        help="itc: cosine of the embeddings; itm: matching, which reads image and prompt together (default: itc)",
    )


def _run(arguments: argparse.Namespace) -> Report:
    if not arguments.images and (arguments.classes or arguments.prompt):
        raise ValueError("--classes and --prompt go with --images; scenes are asked questions of their own")
    model, task = open_checkpoint(arguments.path, arguments.data)
    if not isinstance(model, MvlmModel):
        raise ValueError(
            f"{arguments.path} was trained for the task {task.cfg._name}, which does not compare images with texts; "
            "give a checkpoint of joint_masked_vl or vl_retrieval"
        )
    tokenizer = load_tokenizer(shard_folders(Path(arguments.data))[0])
    tokenizer.dictionary = task.source_dictionary
    pipeline = Pipeline(task.cfg.eval_transform or default_eval_transform(), model.cfg.image_size, allow_random=False)
    reader = VisionLanguageModel(model.to(arguments.device), tokenizer, pipeline)
    quiz = _of_folder(arguments, reader) if arguments.images else _of_scenes(arguments, task)
    features = encode_pictures(reader, quiz, arguments.batch_size)
    figures = {
        topic: answer(reader, features, quiz.names[topic], questions, arguments.score, arguments.batch_size)
        for topic, questions in quiz.questions.items()
    }
    entries = {
        **quiz.entries,
        "score": arguments.score,
        "images": quiz.pictures,
        "bad_images": quiz.pictures - len(features),
    }
    entries["unknown_prompts"] = _count_unknown(reader, quiz)
    text = "\n\n".join(_text(topic, quiz.names[topic], figures[topic]) for topic in figures)
    return Report(protocol_of(arguments.path, task, model, **entries), figures, text)


def _of_folder(arguments: argparse.Namespace, reader: VisionLanguageModel) -> Quiz:
    """A folder of sub-folders.

    Raises:
        ValueError: no pictures, a prompt without a place for the class, or a sub-folder that is no class.
    """
    folder, prompts = Path(arguments.images), arguments.prompt or [_PROMPT]
    for prompt in prompts:
        if SLOT not in prompt:
            raise ValueError(f"--prompt {prompt!r} has no {SLOT} for the class, as in {_PROMPT!r}")
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = [path.name.replace("_", " ") for path in folders]
    names = [name.strip() for name in arguments.classes.split(",")] if arguments.classes else found
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(
            f"{names} are not two or more classes, each once; give --images a folder with a sub-folder a class"
        )
    if strange := sorted(set(found) - set(names)):
        raise ValueError(f"sub-folder {strange[0]!r} of {folder} is not among --classes {', '.join(names)}")
    files = [
        (path, names.index(name))
        for name, place in zip(found, folders, strict=True)
        for path in sorted(place.iterdir())
    ]
    if not files:
        raise ValueError(f"the sub-folders of {folder} are empty")
    question = Question(prompts, list(range(len(files))), [label for _, label in files])

    def read(number: int) -> Tensor:
        path = files[number][0]
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            raise BadImageError(f"{path} is no file of at most {_MAX_BYTES >> 20} MiB")
        return reader.pixels(path)[0]

    entries = {"pictures": str(folder), "prompts": prompts}
    return Quiz({"classes": names}, {"classes": [question]}, read, len(files), entries)


def _of_scenes(arguments: argparse.Namespace, task: Any) -> Quiz:
    """A split of generated scenes. Raises DataBinError where the data-bin has none."""
    task.load_dataset(arguments.subset)
    dataset = task.dataset(arguments.subset)
    store = dataset.store
    topics = scene_questions(read_scenes(store.folder, store.name, len(store.images)))
    names = {topic: classes for topic, (classes, _) in topics.items()}
    questions = {topic: asked for topic, (_, asked) in topics.items()}
    entries = {
        "subset": store.name,
        "prompts": [prompt for asked in questions.values() for question in asked for prompt in question.prompts],
    }
    return Quiz(names, questions, dataset.pixels, len(store.images), entries)


@torch.no_grad()
def encode_pictures(reader: VisionLanguageModel, quiz: Quiz, batch_size: int) -> dict[int, Tensor]:
    """Features (P + 1, D) of each picture that can be read, on the host; the others are reported.

    Raises:
        ValueError: none can be read.
    """
    features: dict[int, Tensor] = {}
    for start in tqdm(range(0, quiz.pictures, batch_size), desc="pictures", unit="batch"):
        pixels = {}
        for number in range(start, min(start + batch_size, quiz.pictures)):
            try:
                pixels[number] = quiz.read(number)
            except (OSError, BadImageError, ImageReadError) as error:
                logger.warning("picture %d is left out: %s", number, error)
        if pixels:
            stacked = torch.stack(list(pixels.values())).to(reader.device)
            encoded = reader.model.encode_image(reader.model.normalize(stacked)).cpu()
            features |= zip(pixels, encoded, strict=True)
    if not features:
        raise ValueError("none of the pictures can be read")
    return features


def answer(
    reader: VisionLanguageModel,
    features: Mapping[int, Tensor],
    names: Sequence[str],
    questions: Sequence[Question],
    score: str,
    batch_size: int,
) -> dict[str, Any]:
    """Figures of a topic, all its questions together; batch_size is the number of pairs of image and prompt a pass."""
    scores, labels, images = [], [], []
    for question in questions:
        tokens = reader.tokens(fill(question.prompts, names))
        rows = [(i, label) for i, label in zip(question.images, question.labels, strict=True) if i in features]
        size = max(1, batch_size // len(tokens))
        for start in range(0, len(rows), size):
            chunk = torch.stack([features[image] for image, _ in rows[start : start + size]]).to(reader.device)
            scores.append(_SCORES[score](reader.model, chunk, tokens, len(question.prompts)).cpu())
        images += [image for image, _ in rows]
        labels += [label for _, label in rows]
    if not scores:
        raise ValueError("no picture has exactly one object to ask about; take a larger split")
    return classification_figures(torch.cat(scores), torch.tensor(labels), torch.tensor(images), names)


def _count_unknown(reader: VisionLanguageModel, quiz: Quiz) -> int:
    """Prompts with a word that the tokenizer does not know, about which a model can say nothing."""
    texts = {
        text
        for topic, asked in quiz.questions.items()
        for question in asked
        for text in fill(question.prompts, quiz.names[topic])
    }
    unknown = reader.tokenizer.dictionary.unk()
    return sum(unknown in reader.tokenizer.encode(text) for text in texts)


def _text(topic: str, names: Sequence[str], figures: Mapping[str, Any]) -> str:
    """A topic's figures in per cent, and what each class is taken for."""
    top = f"top-1 {100 * figures['top1']:.1f} ± {100 * figures['top1_se']:.1f}"
    if "top5" in figures:
        top += f"   top-5 {100 * figures['top5']:.1f}"
    chance = f"chance {100 * figures['chance']:.1f}, always the most frequent {100 * figures['most_frequent']:.1f}"
    lines = [f"{topic}: {top}   of {figures['asked']} asked ({chance})"]
    for name, row in zip(names, figures["confusion"], strict=True):
        taken = sorted(((count, other) for count, other in zip(row, names, strict=True) if count), reverse=True)
        if taken:
            shown = ", ".join(f"{other} {count}" for count, other in taken[:4])
            lines.append(f"  {name:16}{100 * figures['per_class'][name]:6.1f}   taken for: {shown}")
    return "\n".join(lines)


COMMAND = EvalCommand(
    name="zero-shot",
    summary="Classify pictures by prompts such as 'a photo of a dog', without training for it.",
    example="mvlm-eval zero-shot --path checkpoints/checkpoint_last.pt --data data-bin/mine --images animals "
    "--prompt 'a photo of a {}' --prompt 'a small {}'",
    add_options=_add_options,
    run=_run,
)
