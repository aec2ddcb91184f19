"""What the page's server gives out: the page and its uploads, no other file of this machine; and whom it calls."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from mvlm_plugin.demo.actions import Actions
from tests.demo.models import known_gallery
from tests.helpers import write_databin

gradio = pytest.importorskip("gradio", reason="the page needs gradio: pip install 'mvlm-plugin[demo]'")
from mvlm_plugin.demo import page as demo_page  # noqa: E402  (imports gradio)

testclient = pytest.importorskip("starlette.testclient")


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Addresses beyond this machine that anything asked for; none can be reached."""
    asked: list[Any] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def connect_here(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "localhost", "::1"):
            asked.append(address)
            raise OSError("blocked by the test")
        connect(self, address)

    def look_up_here(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in ("127.0.0.1", "localhost", "::1", None):
            asked.append(host)
            raise OSError("blocked by the test")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    monkeypatch.setattr(socket, "getaddrinfo", look_up_here)
    return asked


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, called: list[Any]) -> Iterator[Any]:
    """The page of the command, served for as long as a test takes; the current folder holds a checkpoint."""
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(gradio.Blocks, "block_thread", lambda self: None)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path("checkpoint_last.pt").write_bytes(b"secret")
    page = demo_page.build_page(Actions(*known_gallery(write_databin(tmp_path / "data-bin", splits=["train"]))), "t")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    demo_page.serve(page, port)
    yield page
    page.close()


def test_no_file_of_this_machine_is_served(server: Any, tmp_path: Path) -> None:
    client = testclient.TestClient(server.app)
    assert client.get("/").status_code == 200
    outside = [
        Path("/etc/passwd"), tmp_path / "work" / "checkpoint_last.pt", tmp_path / "data-bin" / "manifest.json",
        tmp_path / "data-bin" / "train.images.bin", Path(demo_page.__file__),
    ]  # fmt: skip
    names = [str(path) for path in outside] + ["checkpoint_last.pt", "../data-bin/manifest.json", "/proc/self/environ"]
    names += [f"{tmp_path}/temporary/../work/checkpoint_last.pt", "/etc/passwd\0.png", f"file://{outside[0]}"]
    for name in names:
        for route in ("file=", "file/"):
            for encoded in (name, quote(name, safe="")):
                path = f"/gradio_api/{route}{encoded.replace(chr(0), '%00')}"
                status = client.get(path, follow_redirects=False).status_code
                assert status in (400, 403, 404), f"{path} is answered with {status}"


def test_an_upload_is_served(server: Any) -> None:
    """So the refusals above are of those files, not of all."""
    client = testclient.TestClient(server.app)
    path = client.post("/gradio_api/upload", files={"files": ("a.txt", b"content")}).json()[0]
    assert client.get(f"/gradio_api/file={path}").content == b"content"


def test_serving_asks_nobody(server: Any, called: list[Any]) -> None:
    assert testclient.TestClient(server.app).get("/config").status_code == 200
    assert called == []
