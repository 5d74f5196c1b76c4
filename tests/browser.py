"""A real browser: Debian's chromium without a window, spoken to by its DevTools protocol."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.websocket import WebSocketClientConnection, websocket_connect

START_SECONDS = 60.0


class Page:
    """An open page.

    Parameters
    ----------
    runner : asyncio.Runner
    socket : tornado.websocket.WebSocketClientConnection
        To its DevTools.
    """

    def __init__(self, runner: asyncio.Runner, socket: WebSocketClientConnection) -> None:
        self._runner, self._socket = runner, socket
        self._asked = 0

    def evaluate(self, script: str) -> Any:
        """Return what a line of JavaScript gives."""
        answer = self._runner.run(self._ask("Runtime.evaluate", expression=script, returnByValue=True))
        assert "exceptionDetails" not in answer, answer
        return answer.get("result", {}).get("value")

    def text(self, selector: str = "body") -> str:
        """Return the text that is seen of an element."""
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")

    def until(self, condition: str, seconds: float = 60.0) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.evaluate(condition):
            assert time.monotonic() < end, f"not within {seconds} s: {condition}\n{self.text()}"
            time.sleep(0.2)

    async def _ask(self, method: str, **parameters: Any) -> Any:
        self._asked += 1
        await self._socket.write_message(json.dumps({"id": self._asked, "method": method, "params": parameters}))
        while (message := json.loads(await self._socket.read_message())).get("id") != self._asked:
            pass
        return message.get("result", {})  # none while a page gives way to the next


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Page]:
    with asyncio.Runner() as runner:
        socket = runner.run(_connect(address))
        try:
            yield Page(runner, socket)
        finally:
            runner.run(_close(socket))


async def _connect(address: str) -> WebSocketClientConnection:
    return await websocket_connect(address)


async def _close(socket: WebSocketClientConnection) -> None:
    socket.close()
    while await socket.read_message() is not None:
        pass


@contextlib.contextmanager
def opened(address: str, folder: Path) -> Iterator[Page]:
    """Yield a page in a browser of its own, which keeps its files in `folder`."""
    command = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if command is None:
        pytest.skip("there is no chromium here")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={folder}"]
    with (folder / "chromium.log").open("wb") as log:
        browser = subprocess.Popen(
            [command, *options, "--remote-debugging-port=0", address], stderr=log, stdout=log, start_new_session=True
        )
    try:
        with _connected(_devtools(folder / "chromium.log")) as page:
            page.until("location.href != 'about:blank' && document.readyState == 'complete'")
            yield page
    finally:
        os.killpg(browser.pid, signal.SIGKILL)
        browser.wait()


def _devtools(log: Path) -> str:
    """Return the address of the page's DevTools, once the browser has told where it listens."""
    end = time.monotonic() + START_SECONDS
    while not (found := re.search(r"DevTools listening on ws://([\d.:]+)/", log.read_text(errors="replace"))):
        assert time.monotonic() < end, f"the browser does not start: {log.read_text(errors='replace')}"
        time.sleep(0.1)
    while True:
        with urllib.request.urlopen(f"http://{found[1]}/json/list", timeout=30) as answer:
            pages = [page for page in json.load(answer) if page["type"] == "page"]
        if pages:
            return str(pages[0]["webSocketDebuggerUrl"])
        assert time.monotonic() < end, "the browser has no page"
        time.sleep(0.1)
