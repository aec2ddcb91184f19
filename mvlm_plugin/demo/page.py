"""The page: its parts, and which action of Actions each starts. Needs the package gradio (extra demo)."""

import functools
import html
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from PIL import Image
from starlette.middleware import Middleware

from ..data.image_index import ImageReadError
from ..data.images import FORMATS
from .actions import Actions, Pair
from .limits import MAX_CHARACTERS, MAX_PIXELS, MAX_UPLOAD_BYTES, RequestLimit, enlarge, read_photo
from .masking import MASK, mask_longest_word
from .search import RERANKED

logger = logging.getLogger(__name__)

_OFFERED = 9
# Fonts of the machine itself: a page of a closed network cannot fetch others.
_FONTS = ["system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
_PAINT = "#e6007e"
_NO_IMAGE = f"This file is no usable image: {', '.join(FORMATS)} of at most {MAX_PIXELS:,} pixels are."
_RERANK = f"Order the best {RERANKED} by ITM (slower)"
_SCORES = (
    "*Similarity* compares contrastive features (ITC), from -1 to 1. *Match* is the probability that the matching head "
    "(ITM), which reads photo and words together, gives the pair: it learnt on one right pair to two that look right."
)
_CACHE_SECONDS = (600, 3600)  # how often files of the page are looked at, and the age at which they are deleted


class _Subject(NamedTuple):
    """What most tabs work on: a photo and its caption, and a wrong partner for each."""

    photo: gr.Image
    caption: gr.Textbox
    place: gr.State  # of the photo in the gallery; None = uploaded
    wrong_photo: gr.Image
    wrong_caption: gr.Textbox
    offered: gr.Gallery
    places: gr.State  # of the offered photos in the gallery
    more: gr.Button
    wrong: gr.Button


def _shown(action: Callable[..., Any]) -> Callable[..., Any]:
    """The action with its errors as messages on the page; what is not a user's fault goes to the log."""

    @functools.wraps(action)
    def guarded(*values: Any) -> Any:
        try:
            return action(*values)
        except (ValueError, ImageReadError) as error:
            message = html.escape(str(error))  # it is shown as HTML, and may quote a caption
        except Exception:
            logger.exception("an action of the page failed")
            message = "This did not work; the terminal that mvlm-demo runs in says why."
        raise gr.Error(message, print_exception=False)

    return guarded


def _canvas(photo: Image.Image) -> dict[str, Any]:
    """What the editor shows: the photo, nothing painted yet."""
    return {"background": enlarge(photo), "layers": [], "composite": None}


def _text(label: str, **options: Any) -> gr.Textbox:
    return gr.Textbox(label=label, max_length=MAX_CHARACTERS, **options)


def _guarded(component: Any) -> Any:
    """A component that opens files of users by itself, with a message where it cannot."""
    opened = component.preprocess

    def preprocess(payload: Any) -> Any:
        try:
            return opened(payload)
        except Exception as error:
            raise gr.Error(_NO_IMAGE, print_exception=False) from error

    component.preprocess = preprocess
    return component


def _photo(label: str, height: int, **options: Any) -> gr.Image:
    """A photo as it is: checked when it is used, and never through a lossy format."""
    photo = gr.Image(
        label=label, type="filepath", image_mode=None, format="png", height=height, sources=["upload", "clipboard"],
        buttons=[], elem_classes="large", **options,
    )  # fmt: skip
    return _guarded(photo)


def _pictures(name: str, columns: int, **options: Any) -> gr.Gallery:
    return gr.Gallery(
        columns=columns, show_label=False, object_fit="cover", elem_id=name, elem_classes="whole", buttons=[], **options
    )


def _build_subject(actions: Actions, start: Pair, wrong: Pair) -> _Subject:
    offered = actions.offer(_OFFERED)
    photo = _photo("Photo: drop one here, or pick below", 280, value=start.photo, elem_id="photo")
    caption = _text("Its caption", value=start.caption, lines=2, elem_id="caption")
    place = gr.State(start.place)
    places = gr.State([pair.place for pair in offered])
    gallery = _pictures("offered", 3, value=[pair.photo for pair in offered], allow_preview=False)
    more = gr.Button("Show other photos", size="sm")
    with gr.Accordion("The wrong partner", open=True):
        wrong_photo = _photo("Wrong photo", 150, value=wrong.photo, elem_id="wrong-photo")
        wrong_caption = _text("Wrong caption", value=wrong.caption, lines=2, elem_id="wrong-caption")
        again = gr.Button("Draw another", size="sm")
    return _Subject(photo, caption, place, wrong_photo, wrong_caption, gallery, places, more, again)


def _build_search(actions: Actions, examples: list[str]) -> tuple[gr.Gallery, gr.State]:
    """The tab of photos by words; returns what is found, and the places of it."""
    with gr.Tab("Photos by words", id="photos"):
        gr.Markdown(
            f"Describe a photo. {_SCORES} **Click on a photo that was found to go on with it in the other tabs.**"
        )
        with gr.Row(equal_height=True):
            words = _text("What the photo shows", value=examples[0], scale=6, elem_id="words")
            button = gr.Button("Search", variant="primary", scale=1, min_width=100, elem_id="search")
        rerank = gr.Checkbox(label=_RERANK, value=True, container=False)
        gr.Examples([[text] for text in examples], [words], label="For example, captions of the split")
        places = gr.State([])
        found = _pictures("found", 4, allow_preview=False)
    for event in (button.click, words.submit):
        _on(event, actions.search_photos, [words, rerank], [found, places])
    return found, places


def _build_captions(actions: Actions, subject: _Subject) -> None:
    with gr.Tab("Captions by photo", id="captions"):
        gr.Markdown(
            f"The captions of the split that fit the photo on the left best. {_SCORES} ✓ marks captions of the photo "
            "itself."
        )
        button = gr.Button("Search captions", variant="primary", elem_id="search-captions")
        rerank = gr.Checkbox(label=_RERANK, value=True, container=False)
        table = gr.HTML(elem_id="captions-found")
    _on(button.click, actions.search_captions, [subject.photo, subject.place, rerank], [table])


def _build_rebuild(actions: Actions, subject: _Subject, start: Pair) -> gr.ImageEditor:
    """The tab of hidden patches; returns the editor, which shows the subject's photo."""
    with gr.Tab("Hide a part of the photo", id="rebuild"):
        gr.Markdown(
            "Paint over what is to be hidden. Whole patches are hidden, and rebuilt from the rest of the photo and a "
            "caption: once the caption on the left, once the wrong one."
        )
        editor = gr.ImageEditor(
            _canvas(start.photo), type="pil", format="png", sources=(), transforms=(), layers=False, height=440,
            brush=gr.Brush(default_size=40, colors=[_PAINT], color_mode="fixed"), show_label=False, buttons=[],
            elem_id="editor",
        )  # fmt: skip
        _guarded(editor)
        with gr.Row():
            button = gr.Button("Rebuild what is painted", variant="primary", elem_id="rebuild")
            half = gr.Button("Hide half of it at random", elem_id="rebuild-random")
        with gr.Row():
            pictures = [
                gr.Image(label=label, format="png", interactive=False, buttons=[], elem_id=name, elem_classes="large")
                for label, name in (
                    ("Hidden", "hidden"),
                    ("Rebuilt with the caption", "rebuilt"),
                    ("Rebuilt with the wrong caption", "rebuilt-wrong"),
                )
            ]
        comment = gr.Markdown(elem_id="rebuilt-comment")

    def rebuild(path: str | None, drawing: dict[str, Any] | None, caption: str | None, wrong: str | None) -> Any:
        return actions.rebuild(path, drawing["layers"] if drawing else [], caption, wrong)

    def rebuild_half(path: str | None, caption: str | None, wrong: str | None) -> Any:
        return actions.rebuild(path, None, caption, wrong)

    texts = [subject.caption, subject.wrong_caption]
    _on(button.click, rebuild, [subject.photo, editor, *texts], [*pictures, comment])
    _on(half.click, rebuild_half, [subject.photo, *texts], [*pictures, comment])
    return editor


def _build_words(actions: Actions, subject: _Subject, start: Pair) -> gr.Textbox:
    """The tab of masked words; returns the masked caption."""
    with gr.Tab("Hide words", id="words"):
        gr.Markdown(
            f"Write `{MASK}` in place of words. They are guessed from the other words and from a photo: once from the "
            "photo on the left, once from the wrong one."
        )
        with gr.Row(equal_height=True):
            masked = _text(
                "Caption with hidden words", value=mask_longest_word(start.caption), scale=5, elem_id="masked"
            )
            button = gr.Button("Guess", variant="primary", scale=1, min_width=100, elem_id="guess")
        table = gr.HTML(elem_id="guesses")
    for event in (button.click, masked.submit):
        _on(event, actions.guess, [subject.photo, subject.wrong_photo, masked], [table])
    return masked


def _build_maps(actions: Actions, subject: _Subject) -> None:
    with gr.Tab("Where words are seen", id="maps"):
        gr.Markdown(
            "For each word of the caption on the left: the places of the photo that speak for the match of the two "
            "(Grad-CAM of the cross-attention). Function words have no place of their own."
        )
        button = gr.Button("Draw the maps", variant="primary", elem_id="draw-maps")
        comment = gr.Markdown(elem_id="match")
        maps = _pictures("word-maps", 4)
    _on(button.click, actions.maps, [subject.photo, subject.caption], [maps, comment])


def _on(event: Callable[..., Any], action: Callable[..., Any], inputs: list[Any], outputs: list[Any]) -> None:
    """Start an action at an event. One runs at a time, whatever the number of visitors: the model's memory is one's."""
    event(
        _shown(action), inputs, outputs, concurrency_limit=1, concurrency_id="model", api_visibility="private",
        show_progress="minimal",
    )  # fmt: skip


def _connect(
    actions: Actions, subject: _Subject, found: tuple[gr.Gallery, gr.State], editor: gr.ImageEditor, masked: gr.Textbox
) -> None:
    """A photo that is picked or uploaded becomes that of all tabs."""

    def become(place: int | None, photo: Image.Image, caption: str) -> list[Any]:
        wrong = actions.wrong_partner(caption)
        masked = mask_longest_word(caption)
        return [photo, caption, place, wrong.photo, wrong.caption, _canvas(photo), masked]

    def pick(places: list[int], chosen: gr.SelectData) -> list[Any]:
        return become(*actions.pair(places[chosen.index]))

    def upload(path: str | None) -> list[Any]:
        return become(None, read_photo(path), actions.caption_for(path))

    def offer() -> tuple[list[Image.Image], list[int]]:
        pairs = actions.offer(_OFFERED)
        return [pair.photo for pair in pairs], [pair.place for pair in pairs]

    def wrong(caption: str | None) -> tuple[Image.Image, str]:
        return actions.wrong_partner(caption or "")[1:]

    everything = [*subject[:5], editor, masked]
    for gallery, places in (found, (subject.offered, subject.places)):
        _on(gallery.select, pick, [places], everything)
    _on(subject.photo.upload, upload, [subject.photo], everything)
    _on(subject.more.click, offer, [], [subject.offered, subject.places])
    _on(subject.wrong.click, wrong, [subject.caption], [subject.wrong_photo, subject.wrong_caption])


def build_page(actions: Actions, title: str) -> gr.Blocks:
    """The page, not served yet.

    ``title`` is one line about the checkpoint and the photos.

    Raises:
        InputError: the gallery is too small, all its captions are equal.
        DataBinError: none of its photos can be read any longer.
    """
    start = actions.start()
    wrong = actions.wrong_partner(start.caption)
    with gr.Blocks(title="mvlm-demo", delete_cache=_CACHE_SECONDS, analytics_enabled=False, fill_width=True) as page:
        gr.Markdown(f"# Photos and words\n{html.escape(title)}")
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                subject = _build_subject(actions, start, wrong)
            with gr.Column(scale=8, min_width=420), gr.Tabs():
                found = _build_search(actions, actions.examples())
                _build_captions(actions, subject)
                editor = _build_rebuild(actions, subject, start)
                masked = _build_words(actions, subject, start)
                _build_maps(actions, subject)
        _connect(actions, subject, found, editor, masked)
    return page


def serve(page: gr.Blocks, port: int) -> None:
    """Serve the page on this machine until interrupted. Raises OSError where the port is taken."""
    # Pillow refuses twice this number, also where the package decodes before the page's own checks.
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
    page.queue(max_size=32).launch(
        server_name="127.0.0.1",
        server_port=port,
        share=False,
        ssr_mode=False,
        quiet=True,
        max_file_size=MAX_UPLOAD_BYTES,
        footer_links=[],
        theme=gr.themes.Default(primary_hue="blue", font=_FONTS, font_mono=["ui-monospace", "monospace"]),
        css=Path(__file__).with_name("page.css").read_text(encoding="utf-8"),
        app_kwargs={"middleware": [Middleware(RequestLimit)]},
    )
